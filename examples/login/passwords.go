package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// What hashing a password costs, as OWASP's cheat sheet on password storage recommends for Argon2id. A hash carries its
// own costs, so that they can be raised later.
const (
	hashMemory  = 19 * 1024 // KiB
	hashTime    = 2
	hashThreads = 1
	hashSize    = 32
	saltSize    = 16
)

// hashing bounds how many passwords are hashed at once: each takes 19 MiB, and anybody can ask for one.
var hashing = make(chan struct{}, runtime.GOMAXPROCS(0))

var errBadHash = errors.New("not an Argon2id hash")

// hashPassword returns a hash in the PHC format, with a salt of its own.
func hashPassword(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	key, err := argon2id(ctx, password, salt, hashTime, hashMemory, hashThreads, hashSize)
	if err != nil {
		return "", err
	}
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, hashMemory, hashTime, hashThreads, encode(salt), encode(key)), nil
}

// checkPassword tells whether the hash is that of the password.
func checkPassword(ctx context.Context, hash, password string) (bool, error) {
	var version, memory, time uint32
	var threads uint8
	fields := strings.Split(hash, "$")
	if len(fields) != 6 || fields[1] != "argon2id" {
		return false, errBadHash
	}
	if _, err := fmt.Sscanf(fields[2]+" "+fields[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &time, &threads); err != nil {
		return false, fmt.Errorf("%w: %w", errBadHash, err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(fields[4])
	if err != nil {
		return false, fmt.Errorf("%w: %w", errBadHash, err)
	}
	want, err := base64.RawStdEncoding.DecodeString(fields[5])
	if err != nil || version != argon2.Version || time == 0 || threads == 0 || len(want) == 0 {
		return false, errBadHash
	}
	got, err := argon2id(ctx, password, salt, time, memory, threads, uint32(len(want)))
	return err == nil && subtle.ConstantTimeCompare(got, want) == 1, err
}

// argon2id waits for its turn, as long as the client does.
func argon2id(ctx context.Context, password string, salt []byte, time, memory uint32, threads uint8, size uint32) ([]byte, error) {
	select {
	case hashing <- struct{}{}:
		defer func() { <-hashing }()
		return argon2.IDKey([]byte(password), salt, time, memory, threads, size), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
