package api

import (
	_ "embed"
	"slices"
)

//go:embed openapi.json
var openAPI []byte

// OpenAPI returns the API's description, an OpenAPI 3.1 document in JSON. GET
// /v1/openapi.json answers with the same bytes.
func OpenAPI() []byte { return slices.Clone(openAPI) }
