// Package test holds the whole-system tests and the tests of the house itself:
// who may import whom. Its rooms come from package lab.
package test
