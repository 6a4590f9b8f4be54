// Package dbsc has the parts of Device Bound Session Credentials (the W3C draft of that name) that know nothing of
// sessions: the tokens that a browser signs, its public keys, challenges, and the headers.
package dbsc
