package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/doorman-go/session"
)

// secret makes a secret, or checks a change of secrets.
func (c *command) secret(_ context.Context, args []string) error {
	switch {
	case len(args) == 0:
		raw := make([]byte, 32)
		_, _ = rand.Read(raw) // never fails
		_, err := fmt.Fprintln(c.out, base64.RawURLEncoding.EncodeToString(raw))
		return err
	case len(args) == 3 && args[0] == "check":
		return c.checkRotation(args[1], args[2])
	}
	return usageError{"write: sessionctl secret, or: sessionctl secret check OLD NEW"}
}

// checkRotation reports the effects of a change from the secrets in one variable to those in another, while instances
// with the old secrets and instances with the new ones run at the same time. It shows no secret.
func (c *command) checkRotation(from, to string) error {
	before, err := session.SecretsFromEnv(from)
	if err != nil {
		return err
	}
	after, err := session.SecretsFromEnv(to)
	if err != nil {
		return err
	}
	return c.report(rotationFindings(before, after))
}

// rotationFindings judges a change of secrets. The first secret seals, and all open.
func rotationFindings(before, after [][]byte) (findings []finding) {
	has := func(all [][]byte, secret []byte) bool {
		return slices.ContainsFunc(all, func(other []byte) bool { return string(other) == string(secret) })
	}
	if !has(before, after[0]) {
		findings = append(findings, finding{fault, "sealing", "the new first secret is unknown to instances with the old ones, so they sign out users who come with a new cookie",
			"first append the new secret behind the old ones everywhere, and put it first in a second step"})
	}
	if !has(after, before[0]) {
		findings = append(findings, finding{fault, "opening", "the old first secret is gone, so all whose cookies it sealed are signed out",
			"keep it behind the new one until the Lifetime of the sessions is over"})
	}
	for i, secret := range before[1:] {
		if !has(after, secret) {
			findings = append(findings, finding{warning, "opening", fmt.Sprintf("the secret at place %d is dropped", i+2),
				"do this only if it has not been first for the Lifetime of the sessions"})
		}
	}
	if len(findings) == 0 {
		findings = append(findings, finding{good, "rotation", "instances with the old and the new secrets open each other's cookies", ""})
	}
	return findings
}

// report prints findings, and returns errFaults if one is a fault.
func (c *command) report(findings []finding) error {
	faulty := false
	encoder := json.NewEncoder(c.out)
	for _, f := range findings {
		faulty = faulty || f.Level == fault
		if c.json {
			if err := encoder.Encode(f); err != nil {
				return err
			}
			continue
		}
		if err := f.print(c.out); err != nil {
			return err
		}
	}
	if faulty {
		return errFaults
	}
	return nil
}
