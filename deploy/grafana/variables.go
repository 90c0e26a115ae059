package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// docs is where the links lead: an address that everybody sets for his own site.
const docs = "https://wimcast.example/docs"

func variables() []cog.Builder[dashboard.VariableModel] {
	return []cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("datasource").
			Label("Prometheus").
			Description("The Prometheus that scrapes wimcastd").
			Type("prometheus"),
		// up is there of a daemon that is down too.
		labels("instance", "Point", "The distribution points to show, by the address that Prometheus scrapes", `label_values(up{job="wimcast"}, instance)`),
		labels("package", "Package", "The packages to show", `label_values(wimcast_sent_packets_total{instance=~"$instance"}, package)`),
		labels("session", "Session", "The sessions to show, those of the time shown included", `label_values(wimcast_session_info{instance=~"$instance", package=~"$package"}, session)`),
		dashboard.NewTextBoxVariableBuilder("docs").
			Label("Docs at").
			Description("Where your copy of wimcast's docs is served; the links to runbooks lead there").
			DefaultValue(dashboard.StringOrMap{String: new(docs)}).
			Current(dashboard.VariableOption{Text: dashboard.StringOrArrayOfString{String: new(docs)}, Value: dashboard.StringOrArrayOfString{String: new(docs)}}),
	}
}

// labels is a variable of the values of a label. All is any value: what began
// after the page was loaded is shown too.
func labels(name, label, description, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).
		Description(description).
		Datasource(source()).
		Query(dashboard.StringOrMap{Map: map[string]any{"query": query, "refId": "Prometheus-" + name, "qryType": 1}}).
		Definition(query).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortNaturalAsc).
		Multi(true).
		IncludeAll(true).
		AllValue(".*").
		Current(dashboard.VariableOption{Selected: new(true), Text: text("All"), Value: text("$__all")})
}

func text(s string) dashboard.StringOrArrayOfString {
	return dashboard.StringOrArrayOfString{ArrayOfString: []string{s}}
}

func annotations() []cog.Builder[dashboard.AnnotationQuery] {
	return []cog.Builder[dashboard.AnnotationQuery]{
		dashboard.NewAnnotationQueryBuilder().
			Name("Alerts").
			Datasource(source()).
			Enable(true).
			IconColor(red).
			Expr(firing).
			Step("30s").
			TitleFormat("{{alertname}}").
			TextFormat("{{instance}} {{session}} {{package}} {{interface}} {{point}}").
			TagKeys("severity"),
	}
}

func links() []cog.Builder[dashboard.DashboardLink] {
	return []cog.Builder[dashboard.DashboardLink]{
		manual("How to read this", "What each row tells, and the first one in ten seconds", "monitoring.md#the-dashboard"),
		manual("Runbooks", "What to do about each alert", "monitoring.md#the-alerts"),
		manual("Metrics", "What each metric says", "metrics.md"),
	}
}

// manual is a link to a page of the docs.
func manual(title, tooltip, page string) *dashboard.DashboardLinkBuilder {
	return dashboard.NewDashboardLinkBuilder(title).
		Type(dashboard.DashboardLinkTypeLink).
		Icon("doc").
		Tooltip(tooltip).
		Url("${docs:raw}/" + page).
		TargetBlank(true)
}

// runbook is a panel's link to what to do about an alert.
func runbook(alert string) []cog.Builder[dashboard.DashboardLink] {
	return []cog.Builder[dashboard.DashboardLink]{
		manual("What to do: "+alert, "The runbook of the alert", "monitoring.md#"+lower(alert)),
	}
}
