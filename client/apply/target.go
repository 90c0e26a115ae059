package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"wimcast/client/volume"
	"wimcast/statefile"
)

// Names in a target.
const (
	WorkFolder = "wimcast" // in the target's root
	markFile   = "applying.json"
	markTemp   = "applying.json.tmp"
	scratchDir = "scratch"
	logFile    = "dism.log"
)

// usual are names that a volume has without anybody having put something there, or that a task sequence puts there; lower case.
var usual = []string{
	WorkFolder, "system volume information", "$recycle.bin", "recycler", "lost+found", ".trash-0", ".trashes", ".fseventsd", ".spotlight-v100", "dumpstack.log.tmp", "pagefile.sys", "swapfile.sys",
	"_smstasksequence", "minint", "smsts.ini", // Configuration Manager, Microsoft Deployment Toolkit
}

// Target is the volume or folder that an image is to be applied to.
type Target struct {
	Path   string // as a program understands it: "W:" became "W:\"
	Volume volume.Volume

	inside string // why it isn't empty, "" where it is
	force  bool
	half   *mark // an earlier try that didn't end; nil: none
}

// mark is applying.json.
type mark struct {
	Digest string    `json:"digest"` // of the content
	Index  int       `json:"index"`
	Free   int64     `json:"free_bytes"` // on the volume when it began
	Began  time.Time `json:"began"`      // by this machine's clock, which may be wrong
}

// OpenTarget looks at a target, and changes nothing. It must be a folder (or the root of a volume) that holds nothing but what a volume has by
// itself, and the files named in mine; force lets it hold anything. An earlier try that didn't end is held against the image later, by
// Begin. Errors match ErrTarget.
func OpenTarget(path string, force bool, mine ...string) (*Target, error) {
	if runtime.GOOS == "windows" && len(path) == 2 && path[1] == ':' {
		path += `\` // "W:" alone is wherever that drive's current folder is
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, refused(path, err, "%v", err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, refused(path, err, "it isn't there; next: name a volume or folder that is, such as W:\\ (wimcast formats and partitions nothing)")
	case err != nil:
		return nil, refused(path, err, "%v", err)
	case !info.IsDir():
		return nil, refused(path, nil, "it is neither a volume nor a folder; next: name one, such as W:\\")
	}
	t := &Target{Path: path, force: force}
	if t.Volume, err = volume.Of(path); err != nil {
		return nil, refused(path, err, "%v", err)
	}
	if work, err := os.Lstat(t.Work()); err == nil && !work.IsDir() {
		return nil, refused(path, nil, "%s is there and isn't a folder, and wimcast wants to work there; next: remove it", t.Work())
	}
	if t.half, err = t.readMark(); err != nil {
		return nil, refused(path, err, "%v", err)
	}
	if t.inside, err = t.look(mine); err != nil {
		return nil, refused(path, err, "%v", err)
	}
	if t.inside != "" && !force && t.half == nil {
		return nil, refused(path, nil, "it isn't empty: %s; next: name an empty volume or folder, or apply over what is there by --force-apply", t.inside)
	}
	return t, nil
}

func refused(path string, cause error, format string, args ...any) error {
	return &failure{kind: ErrTarget, text: fmt.Sprintf("apply to %s: %s", path, fmt.Sprintf(format, args...)), err: cause}
}

// look says what is in the target that isn't usual there.
func (t *Target) look(mine []string) (string, error) {
	allowed := slices.Clone(usual)
	for _, path := range mine {
		abs, err := filepath.Abs(path)
		if err != nil {
			continue
		}
		if below, err := filepath.Rel(t.Path, abs); err == nil && filepath.IsLocal(below) {
			first, _, _ := strings.Cut(filepath.ToSlash(below), "/")
			allowed = append(allowed, strings.ToLower(first))
		}
	}
	dir, err := os.Open(t.Path)
	if err != nil {
		return "", err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return "", err
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool {
		lower := strings.ToLower(name)
		return slices.ContainsFunc(allowed, func(a string) bool { return lower == a || strings.HasPrefix(lower, a+".part") || lower == a+".proven" })
	})
	const shown = 3
	for i := range min(len(names), shown) {
		names[i] = fmt.Sprintf("%.80q", names[i])
	}
	switch n := len(names); {
	case n == 0:
		return "", nil
	case n > shown:
		return fmt.Sprintf("%s and %d more are there", strings.Join(names[:shown], ", "), n-shown), nil
	}
	return strings.Join(names, ", ") + " there", nil
}

// Work returns the work folder.
func (t *Target) Work() string { return filepath.Join(t.Path, WorkFolder) }

// Log returns where DISM writes its log.
func (t *Target) Log() string { return filepath.Join(t.Work(), logFile) }

// MakeWork makes the work folder.
func (t *Target) MakeWork() error {
	if err := os.Mkdir(t.Work(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return refused(t.Path, err, "%v", err)
	}
	return nil
}

// Begin holds an earlier try against what is to be applied now: index is 0 where that isn't known yet. The error matches ErrTarget.
func (t *Target) Begin(digest string, index int) error {
	if t.half == nil || t.force || t.inside == "" || t.half.Digest == digest && (index == 0 || t.half.Index == index) {
		return nil
	}
	return refused(t.Path, nil, "it is half applied with another image (index %d of %.12s, begun %s); next: format it and try again, or apply over what is there by --force-apply",
		t.half.Index, t.half.Digest, t.half.Began.Format(time.DateTime))
}

// Takes refuses a volume that Windows can't be on, for an image of Windows. The error matches ErrTarget.
func (t *Target) Takes(windows bool) error {
	if !windows || !t.Volume.Plain {
		return nil
	}
	return refused(t.Path, nil, "the volume is %s, which keeps no permissions and links, so that Windows wouldn't start from it; next: format it with NTFS", t.Volume.Kind)
}

// Fits refuses an image for which there is no room, and a volume that can't hold it. size is that of the WIM in bytes and missing how much of it
// is still to be received into the folder download; unpacked is what the image takes, 0 where that isn't known. Free room counts as it is
// now. Errors match ErrTarget.
func (t *Target) Fits(download string, missing, unpacked int64) error {
	if t.Volume.Largest > 0 && unpacked > t.Volume.Largest {
		return refused(t.Path, nil, "the volume is %s, whose files end at 4 GiB and keep no permissions, and the image takes %s; next: format it with NTFS", t.Volume.Kind, volume.Figure(unpacked))
	}
	now, err := volume.Of(t.Path)
	if err != nil {
		return refused(t.Path, err, "%v", err)
	}
	beside, err := volume.Of(download)
	if err != nil {
		return refused(t.Path, err, "%v", err)
	}
	if beside.ID != now.ID {
		missing = 0 // whoever receives it looks
	}
	free := now.Free
	if t.half != nil {
		free = max(free, t.half.Free) // what was applied already is there to be replaced
	}
	if now.Free >= 0 && missing+unpacked > free {
		parts := volume.Figure(unpacked) + " for what is in the image"
		if missing > 0 {
			parts += " and " + volume.Figure(missing) + " for its file"
		}
		return refused(t.Path, nil, "not enough room: %s are needed, and %s are free; next: choose a larger volume, or receive the file elsewhere by --output", parts, volume.Figure(free))
	}
	return nil
}

// maxMark bounds applying.json, in bytes.
const maxMark = 4096

// readMark returns what an earlier try left; nil where there is none.
func (t *Target) readMark() (*mark, error) {
	root, err := os.OpenRoot(t.Path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	b, err := statefile.Read(root, filepath.Join(WorkFolder, markFile), maxMark)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := new(mark)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s isn't wimcast's; next: remove it", filepath.Join(t.Work(), markFile))
	}
	return m, nil
}

// writeMark notes durably that the target is being written to.
func (t *Target) writeMark(m mark) error {
	root, err := os.OpenRoot(t.Work())
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := statefile.Write(root, markTemp, markFile, 0o600, b, nil); err != nil {
		return err
	}
	return statefile.SyncDir(root, ".")
}

// Clean removes from the work folder what an applying left, and the folder itself if nothing else is in it. keep leaves the log there; files
// are names in the work folder that go too.
func (t *Target) Clean(keep bool, files ...string) error {
	root, err := os.OpenRoot(t.Path)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	files = append(files, markFile, markTemp)
	if !keep {
		files = append(files, logFile)
	}
	var errs []error
	for _, name := range files {
		if err := root.Remove(filepath.Join(WorkFolder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, root.RemoveAll(filepath.Join(WorkFolder, scratchDir)))
	if names, err := fs.ReadDir(root.FS(), WorkFolder); err == nil && len(names) == 0 {
		errs = append(errs, root.Remove(WorkFolder))
	}
	return errors.Join(errs...)
}
