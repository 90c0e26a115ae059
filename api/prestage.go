package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// ImageExport says for whom a package is exported.
type ImageExport struct {
	For []string `json:"for,omitempty"` // points and groups; none: those that it is distributed to
	All bool     `json:"all,omitempty"` // every point, in place of For
}

// ImageFile is a file that comes.
type ImageFile struct {
	io.ReadCloser
	Size int64  // bytes
	Tag  string // what the release is called in a registry, and in the file
}

// ExportTag is the header that has an export's tag.
const ExportTag = "Wimcast-Tag"

// ExportImage opens a package as a file to be imported at points. The caller closes it. Only when Size bytes came is it whole.
func (c *Client) ExportImage(ctx context.Context, ref string, e ImageExport) (*ImageFile, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	answer, err := c.open(ctx, http.MethodPost, imagePath(ref)+"/export", bytes.NewReader(b), int64(len(b)), nil) //nolint:bodyclose // the caller closes the file, which is the body
	if err != nil {
		return nil, err
	}
	return &ImageFile{answer.Body, answer.ContentLength, answer.Header.Get(ExportTag)}, nil
}

// ImportImage takes a file of size bytes into the library of a point. What came before an error stays.
func (c *Client) ImportImage(ctx context.Context, r io.Reader, size int64) (Image, error) {
	return c.upload(ctx, "/v1/images/import", r, size)
}
