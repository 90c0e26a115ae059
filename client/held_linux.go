package client

import "os"

// keep goes on with the handle that the file was written by: its lock stays.
func keep(part osPart, _ string) (*os.File, error) { return part.File, nil }
