package main

// group is the mutations of a section of docs/guarantees.md or docs/rules.md.
type group struct {
	name      string
	home      string // where its tests are, if the document does not say it of them
	mutations []mutation
}

var groups = []group{
	{"g1", "guarantees", fixation},
	{"g2", "guarantees", resurrection},
	{"g3", "guarantees", updates},
	{"g4", "guarantees", logouts},
	{"g5", "guarantees", failures},
	{"g6", "guarantees", bounds},
	{"g7", "guarantees", losses},
	{"g8", "guarantees", streams},
	{"g9", "guarantees", times},
	{"g10", "guarantees", cookies},
	{"g11", "guarantees", inputs},
	{"g12", "guarantees", values},
	{"g13", "guarantees", secrets},
	{"g14", "guarantees", rest},
	{"g15", "guarantees", concurrency},
	{"adopt", "adopt", adoption},
	{"binding", "binding", binding},
	{"operation", "operation", operation},
	{"sql", "sqlstore", databases},
	{"mongo", "mongostore/integration", mongoDB},
	{"field", "field", field},
}

func allMutations() (all []mutation) {
	for _, g := range groups {
		for _, m := range g.mutations {
			m.group, m.home, m.number = g.name, g.home, len(all)+1
			all = append(all, m)
		}
	}
	return all
}
