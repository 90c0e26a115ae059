package servicing

import (
	"slices"
	"strings"
	"testing"

	"wimcast/library/wim"
)

// education is an image that most updates of the tests are for.
func education() Facts {
	return Facts{
		Index: 1, Architecture: "x64", Build: 22621, Edition: "Education", Languages: []string{"de-DE", "en-US"},
		Installed: installedIn([]string{
			packagesDir, // the folder itself, as wimlib lists it
			packagesDir + "/Package_for_KB5031455~31bf3856ad364e35~amd64~~22621.2506.1.8.mum",
			packagesDir + "/Package_for_RollupFix~31bf3856ad364e35~amd64~~22621.2506.1.8.mum",
			packagesDir + "/Package_1_for_KB5000009~31bf3856ad364e35~amd64~~10.0.1.1.mum",
			packagesDir + "/Microsoft-Windows-Foundation-Package~31bf3856ad364e35~amd64~~10.0.22621.1.mum",
			packagesDir + "/Package_for_KB5000008~31bf3856ad364e35~amd64~~1.0.0.0.cat",
		}),
		Applied: []Applied{{"KB5000100", ExecutorStage, "2026-11-26"}, {"drivers", ExecutorOverlay, "2026-11-26"}},
	}
}

func TestInstalled(t *testing.T) {
	f := education()
	want := []InstalledPackage{
		{Identity{"Package_for_KB5031455", "22621.2506.1.8", "amd64", "31bf3856ad364e35", "neutral"}, "KB5031455"},
		{Identity{"Package_for_RollupFix", "22621.2506.1.8", "amd64", "31bf3856ad364e35", "neutral"}, ""},
	}
	if !slices.Equal(f.Installed, want) {
		t.Errorf("%+v", f.Installed)
	}
}

func TestJudge(t *testing.T) {
	update := func(change func(*Update)) Update {
		u := Update{ID: "KB5000001", Kind: CAB, Architecture: "x64", BuildFrom: 22621, BuildTo: 22631}
		change(&u)
		return u
	}
	cumulative := func(version string) Update {
		return update(func(u *Update) { u.Identity = &Identity{Name: rollup, Version: version, Architecture: "amd64"} })
	}
	all := []Update{{ID: "KB5000002", Kind: CAB, Architecture: "x64"}, {ID: "KB5000003", Kind: CAB, Architecture: "arm64"}}
	for name, c := range map[string]struct {
		update  Update
		image   func(*Facts)
		verdict Verdict
		text    string
	}{
		"it is for it":              {update(func(*Update) {}), nil, Applicable, "KB5000001 is applicable"},
		"another architecture":      {update(func(u *Update) { u.Architecture = "arm64" }), nil, WrongArchitecture, "KB5000001 is for arm64, the image is x64"},
		"no architecture":           {update(func(*Update) {}), func(f *Facts) { f.Architecture = "" }, WrongArchitecture, "doesn't say what it is"},
		"an overlay for any":        {Update{ID: "o", Kind: Overlay}, func(f *Facts) { f.Architecture = "" }, Applicable, "applicable"},
		"an overlay again":          {Update{ID: "drivers", Kind: Overlay}, nil, Applicable, "applicable"},
		"a build below":             {update(func(u *Update) { u.BuildFrom = 22622 }), nil, WrongBuild, "is for build 22622-22631, the image is 22621"},
		"a build above":             {update(func(u *Update) { u.BuildFrom, u.BuildTo = 19041, 22620 }), nil, WrongBuild, "19041-22620"},
		"its last build":            {update(func(u *Update) { u.BuildFrom, u.BuildTo = 19041, 22621 }), nil, Applicable, "applicable"},
		"no build":                  {update(func(*Update) {}), func(f *Facts) { f.Build = 0 }, WrongBuild, "doesn't say its build"},
		"any build":                 {update(func(u *Update) { u.BuildFrom, u.BuildTo = 0, 0 }), func(f *Facts) { f.Build = 0 }, Applicable, "applicable"},
		"its edition":               {update(func(u *Update) { u.Editions = []string{"Pro", "education"} }), nil, Applicable, "applicable"},
		"another edition":           {update(func(u *Update) { u.Editions = []string{"Pro"} }), nil, WrongEdition, "is for edition Pro, the image is Education"},
		"no edition":                {update(func(u *Update) { u.Editions = []string{"Pro"} }), func(f *Facts) { f.Edition = "" }, WrongEdition, "none that is known"},
		"one of its languages":      {update(func(u *Update) { u.Languages = []string{"fr-FR", "EN-us"} }), nil, Applicable, "applicable"},
		"another language":          {update(func(u *Update) { u.Languages = []string{"fr-FR"} }), nil, WrongLanguage, "the image has de-DE, en-US"},
		"installed by its number":   {update(func(u *Update) { u.ID = "KB5031455" }), nil, Installed, "is installed, as Package_for_KB5031455 22621.2506.1.8"},
		"installed as a rollup":     {cumulative("22621.2506.1.8"), nil, Installed, "is installed, as Package_for_RollupFix"},
		"an older rollup":           {cumulative("22621.999.1.8"), nil, Superseded, "is 22621.999.1.8, the image has 22621.2506.1.8"},
		"a newer rollup":            {cumulative("22621.10000.1.0"), nil, Applicable, "applicable"},
		"staged":                    {update(func(u *Update) { u.ID = "KB5000100" }), nil, Staged, "was staged into the image here on 2026-11-26"},
		"installed here":            {update(func(u *Update) { u.ID = "KB5000100" }), func(f *Facts) { f.Applied[0].Executor = "dism" }, Installed, "was installed into the image here"},
		"superseded in the image":   {update(func(u *Update) { u.SupersededBy = []string{"KB5031455"} }), nil, Superseded, "KB5031455, which is in the image"},
		"superseded in the list":    {update(func(u *Update) { u.SupersededBy = []string{"KB5000002"} }), nil, Superseded, "KB5000002, which is in the catalogue"},
		"superseded on another CPU": {update(func(u *Update) { u.SupersededBy = []string{"KB5000003"} }), nil, Applicable, "applicable"},
		"superseded by nothing":     {update(func(u *Update) { u.SupersededBy = []string{"KB5000004"} }), nil, Applicable, "applicable"},
		"what it wants is there":    {update(func(u *Update) { u.Requires = []string{"KB5031455", "KB5000100"} }), nil, Applicable, "applicable"},
		"what it wants isn't there": {update(func(u *Update) { u.Requires = []string{"KB5031455", "KB5000002"} }), nil, Lacks, "KB5000001 wants KB5000002 first"},
	} {
		f := education()
		if c.image != nil {
			c.image(&f)
		}
		if verdict, text := Judge(&f, &c.update, all); verdict != c.verdict || !strings.Contains(text, c.text) {
			t.Errorf("%s: %s, %q; want %s, %q", name, verdict, text, c.verdict, c.text)
		}
	}
}

func TestFactsOf(t *testing.T) {
	image := wim.Image{
		Index: 3, Architecture: 9, HasArchitecture: true, Version: wim.Version{Build: 22631}, Flags: "Pro", Languages: []string{"en-US"},
		Serviced: wim.Serviced{Updates: []string{"KB1/stage/2026-11-26", "nonsense", "../x/stage/2026-11-26", "a/b/c", "KB2/dism/2026-11-27"}},
	}
	f := factsOf(&image, nil)
	if f.Index != 3 || f.Architecture != "x64" || f.Build != 22631 || f.Edition != "Pro" || recordText(f.Applied) != "KB1/stage/2026-11-26 KB2/dism/2026-11-27" {
		t.Errorf("%+v", f)
	}
	image.HasArchitecture = false
	if f := factsOf(&image, nil); f.Architecture != "" {
		t.Errorf("no architecture: %q", f.Architecture)
	}
}

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"1", "1", 0}, {"1.0", "1", 0}, {"1.10", "1.9", 1}, {"22621.2506.1.8", "22621.10000.1.0", -1}, {"x", "0", 0}, {"", "1", -1}} {
		if got := compareVersions(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: %d", c.a, c.b, got)
		}
	}
}
