package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// What a panel shows while Prometheus has nothing for it.
const (
	noSession = "no session"
	noneYet   = "none yet"
)

// graph is lines over time. Where nothing was measured there is a gap, never a line across it.
func graph(name, unit, description string, queries ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().
		Title(name).Description(description).Datasource(source()).Targets(targets(queries)).
		Unit(unit).Min(0).NoValue(noneYet).
		DrawStyle(common.GraphDrawStyleLine).LineWidth(1).FillOpacity(10).
		ShowPoints(common.VisibilityModeAuto).SpanNulls(common.BoolOrFloat64{Bool: new(false)}).
		Legend(legend("lastNotNull", "max")).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
}

// legend is a table below a graph.
func legend(calcs ...string) *common.VizLegendOptionsBuilder {
	return common.NewVizLegendOptionsBuilder().
		DisplayMode(common.LegendDisplayModeTable).Placement(common.LegendPlacementBottom).ShowLegend(true).Calcs(calcs)
}

// stacked has a graph's lines lie upon each other: their sum is what counts.
func stacked(p *timeseries.PanelBuilder) *timeseries.PanelBuilder {
	return p.Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A")).FillOpacity(60).LineWidth(0)
}

// steps are for counts of things, which don't change gradually.
func steps(p *timeseries.PanelBuilder) *timeseries.PanelBuilder {
	return p.LineInterpolation(common.LineInterpolationStepAfter)
}

// bars has a graph show events: how many came in the time of each bar (happened), a minute, or more where much
// time is shown.
func bars(p *timeseries.PanelBuilder) *timeseries.PanelBuilder {
	return stacked(p).DrawStyle(common.GraphDrawStyleBars).FillOpacity(80).
		Interval("1m").Legend(legend("lastNotNull", "sum"))
}

// limit draws a line where an alert begins, and the area behind it.
func limit(p *timeseries.PanelBuilder, at ...dashboard.Threshold) *timeseries.PanelBuilder {
	return p.Thresholds(thresholds(at...)).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
}

// figure is one number, or one for each series, coloured by thresholds.
func figure(name, unit, description string, queries ...*prometheus.DataqueryBuilder) *stat.PanelBuilder {
	return stat.NewPanelBuilder().
		Title(name).Description(description).Datasource(source()).Targets(targets(queries)).
		Unit(unit).NoValue(noneYet).
		ColorScheme(colouring(dashboard.FieldColorModeIdThresholds)).
		ColorMode(common.BigValueColorModeBackground).GraphMode(common.BigValueGraphModeNone).TextMode(common.BigValueTextModeAuto).
		Orientation(common.VizOrientationAuto).ReduceOptions(last())
}

// band is a row over time for each series, in the colour of its state.
func band(name, description string, mappings []dashboard.ValueMapping, queries ...*prometheus.DataqueryBuilder) *statetimeline.PanelBuilder {
	return statetimeline.NewPanelBuilder().
		Title(name).Description(description).Datasource(source()).Targets(targets(queries)).
		Mappings(mappings).NoValue(noneYet).
		ColorScheme(colouring(dashboard.FieldColorModeIdThresholds)).
		MergeValues(true).ShowValue(common.VisibilityModeAuto).RowHeight(0.9).FillOpacity(80).LineWidth(0).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeSingle))
}

// heat is how a histogram's values lie over time.
func heat(name, unit, description string, query *prometheus.DataqueryBuilder) *heatmap.PanelBuilder {
	return heatmap.NewPanelBuilder().
		Title(name).Description(description).Datasource(source()).Targets(targets([]*prometheus.DataqueryBuilder{query})).
		NoValue(noneYet).
		Calculate(false).CellGap(1).
		Color(heatmap.NewHeatmapColorOptionsBuilder().Mode(heatmap.HeatmapColorModeScheme).Scheme("Oranges").Steps(32)).
		FilterValues(heatmap.NewFilterValueRangeBuilder().Le(1e-9)). // a bucket without a value isn't drawn
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(unit).AxisPlacement(common.AxisPlacementLeft)).
		CellValues(heatmap.NewCellValuesBuilder().Unit(units.Short)).
		Tooltip(heatmap.NewHeatmapTooltipBuilder().Mode(common.TooltipDisplayModeSingle).ShowColorScale(true)).
		ShowLegend()
}

// levels is a bar for each series, of the latest value.
func levels(name, unit, description string, queries ...*prometheus.DataqueryBuilder) *bargauge.PanelBuilder {
	return bargauge.NewPanelBuilder().
		Title(name).Description(description).Datasource(source()).Targets(targets(queries)).
		Unit(unit).NoValue(noneYet).Min(0).
		ColorScheme(colouring(dashboard.FieldColorModeIdThresholds)).
		Orientation(common.VizOrientationHorizontal).DisplayMode(common.BarGaugeDisplayModeBasic).ValueMode(common.BarGaugeValueModeColor).
		ShowUnfilled(true).ReduceOptions(last())
}

func last() *common.ReduceDataOptionsBuilder {
	return common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})
}

func colouring(mode dashboard.FieldColorModeId) *dashboard.FieldColorBuilder {
	return dashboard.NewFieldColorBuilder().Mode(mode)
}

// targets numbers queries A, B, C and so on, unless they are named.
func targets(queries []*prometheus.DataqueryBuilder) []cog.Builder[variants.Dataquery] {
	var out []cog.Builder[variants.Dataquery]
	for i, q := range queries {
		if built, err := q.Build(); err == nil && built.(prometheus.Dataquery).RefId == nil {
			q.RefId(string(rune('A' + i)))
		}
		out = append(out, q)
	}
	return out
}

// begins is where a colour begins; everything is how it is below the first.
func begins(at float64, colour string) dashboard.Threshold {
	return dashboard.Threshold{Value: &at, Color: colour}
}

func everything(colour string) dashboard.Threshold { return dashboard.Threshold{Color: colour} }

func thresholds(at ...dashboard.Threshold) *dashboard.ThresholdsConfigBuilder {
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(at)
}

// special is what is different for some series of a panel.
type special = cog.Builder[dashboard.DashboardFieldConfigSourceOverrides]

// coloured gives series that are named by a word the word's colour.
func coloured(words ...string) []special {
	var out []special
	for _, word := range words {
		out = append(out, named(word, property("color", colour(colours[word]))))
	}
	return out
}

// named is what is special of the series of a name.
func named(name string, properties ...dashboard.DynamicConfigValue) special {
	return override("byName", name, properties)
}

// matching is what is special of series whose names match an expression.
func matching(pattern string, properties ...dashboard.DynamicConfigValue) special {
	return override("byRegexp", "/"+pattern+"/", properties)
}

func override(matcher, what string, properties []dashboard.DynamicConfigValue) special {
	return dashboard.NewDashboardFieldConfigSourceOverridesBuilder().
		Matcher(dashboard.MatcherConfig{Id: matcher, Options: what}).
		Properties(properties)
}

func property(id string, value any) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: id, Value: value}
}

func colour(name string) dashboard.FieldColor {
	return dashboard.FieldColor{Mode: dashboard.FieldColorModeIdFixed, FixedColor: &name}
}

// state is what a value means, and its colour.
type state struct {
	value, text, colour string
}

// means has values shown as words.
func means(states ...state) []dashboard.ValueMapping {
	options := map[string]dashboard.ValueMappingResult{}
	for i, s := range states {
		options[s.value] = dashboard.ValueMappingResult{Text: new(s.text), Color: new(s.colour), Index: new(int32(i))}
	}
	return []dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}}
}

// fixed is one colour for all series.
func fixed(name string) *dashboard.FieldColorBuilder {
	return colouring(dashboard.FieldColorModeIdFixed).FixedColor(name)
}

// stepsOf is thresholds as a special of some series.
func stepsOf(at ...dashboard.Threshold) dashboard.ThresholdsConfig {
	return dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: at}
}

// logarithmic is for what lies far apart.
func logarithmic() *common.ScaleDistributionConfigBuilder {
	return common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLog).Log(10)
}

// sorted is how a table is sorted at first.
type sorted = cog.Builder[common.TableSortByFieldState]
