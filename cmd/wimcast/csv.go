package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
)

// writeCSV writes a slice of structs as CSV (RFC 4180): a column for each field of the
// JSON in its order, those of a nested object named after both; lists are left out. Times are RFC
// 3339 in UTC, zero ones empty.
func writeCSV(w io.Writer, records any) error {
	list := reflect.ValueOf(records)
	out := csv.NewWriter(w)
	header, _ := cells(list.Type().Elem(), reflect.Value{}, "")
	if err := out.Write(header); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	for i := range list.Len() {
		_, row := cells(list.Type().Elem(), list.Index(i), "")
		if err := out.Write(row); err != nil {
			return fmt.Errorf("write CSV: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// cells returns the columns of a struct, and their values where it has one.
func cells(of reflect.Type, value reflect.Value, prefix string) (header, row []string) {
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		var v reflect.Value
		if value.IsValid() {
			v = value.Field(i)
		}
		switch {
		case field.Type.Kind() == reflect.Slice:
		case field.Type.Kind() == reflect.Struct && field.Type != reflect.TypeFor[time.Time]():
			h, r := cells(field.Type, v, prefix+name+"_")
			header, row = append(header, h...), append(row, r...)
		default:
			header = append(header, prefix+name)
			if v.IsValid() {
				row = append(row, cell(v.Interface()))
			}
		}
	}
	return header, row
}

// cell writes one value. Text that a spreadsheet would take for a formula gets a ' in
// front: clients choose their own names.
func cell(v any) string {
	switch v := v.(type) {
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format(time.RFC3339Nano)
	case string:
		if v != "" && strings.ContainsRune("=+-@\t\r", rune(v[0])) {
			return "'" + v
		}
		return v
	}
	return fmt.Sprint(v)
}
