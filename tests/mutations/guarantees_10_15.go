package main

// Guarantee 10: one Set-Cookie for the name, with the right attributes and caching headers, of at most 4096 bytes. Of several cookies
// the right one is found.
var cookies = []mutation{
	{
		rule: "a response has Vary: Cookie",
		file: "cookie.go",
		find: "	if q.session.state != nil || !q.returned {\n		varyByCookie(h, &q.vary)\n	}\n",
		with: "",
		dies: "advisories: TestAdvisory_VaryMissing; guarantees: TestGuarantee10_Cookies_CachingHeaders",
	},
	{
		rule: "Vary also where the session is first used after the header",
		file: "cookie.go",
		find: "	if q.session.state != nil || !q.returned {",
		with: "	if q.session.state != nil {",
		dies: "field: TestField18_UsedAfterTheFirstByte",
	},
	{
		rule: "no Vary where the handler has returned without using the session",
		file: "request.go",
		find: "		q.noteReturn()\n",
		with: "		_ = q.noteReturn\n",
		dies: "guarantees: TestGuarantee10_NoVaryWhereTheSessionWasNotUsed",
	},
	{
		rule: "a response that sets a cookie has no-store",
		file: "cookie.go",
		find: "	keepFromCaches(h)\n}\n",
		with: "}\n",
		dies: "guarantees: TestGuarantee10_Cookies_CachingHeaders|TestGuarantee10_NoStoreUnlessStricter",
	},
	{
		rule: "a stricter Cache-Control of the handler stays",
		file: "cookie.go",
		find: "	if !hasToken(h[\"Cache-Control\"], \"no-store\") {",
		with: "	if true {",
		dies: "guarantees: TestGuarantee10_NoStoreUnlessStricter",
	},
	{
		rule: "a cookie has at most 4096 bytes, with any store",
		file: "cookie.go",
		find: "	if len(c.Name)+len(value) > maxCookie {",
		with: "	if false {",
		dies: "guarantees: TestGuarantee10_TooLargeByAnotherStore",
	},
	{
		rule: "sealed: before anything is stored",
		file: "cookie_store.go",
		find: "	if len(text)+checksumSize > room {",
		with: "	if false && room > 0 {",
		dies: "root: TestCookieStore_TooLargeEndsNothing",
	},
	{
		rule: "a token that can't stand in a cookie is refused",
		file: "cookie.go",
		find: "		if !isCookieOctet(value[i]) {",
		with: "		if false && !isCookieOctet(value[i]) {",
		dies: "guarantees: TestGuarantee10_ATokenThatCannotStandInACookie; root: TestCookieValueFault",
	},
	{
		rule: "a handler's cookie of the name is dropped",
		file: "cookie.go",
		find: "	} else if dropCookie(h, q.manager.config.Name) {",
		with: "	} else if false {",
		dies: "field: TestField29_AHandlersCookieOfTheNameIsDropped",
	},
	{
		rule: "one Set-Cookie for the name",
		file: "cookie.go",
		find: "	dropCookie(h, name)\n	h[\"Set-Cookie\"]",
		with: "	_ = name\n	h[\"Set-Cookie\"]",
		dies: "guarantees: TestGuarantee10_OneCookie|TestGuarantee10_Cookies_OneASession",
	},
	{
		rule: "a cookie is deleted with the same attributes",
		file: "cookie.go",
		find: "	case value == \"\":\n		cookie.MaxAge, cookie.Expires = -1, time.Unix(0, 0)\n",
		with: "	case value == \"\":\n		cookie.MaxAge, cookie.Expires, cookie.Path = -1, time.Unix(0, 0), \"\"\n",
		dies: "guarantees: TestGuarantee10_Cookies_DeletedWithTheSameAttributes",
	},
	{
		rule: "Clear-Site-Data spares a cookie of the same answer",
		file: "cookie.go",
		find: "	if q.cookie != \"\" && q.cookie != q.manager.removal {\n",
		with: "	if false {\n",
		dies: "field: TestField30_ClearSiteDataSparesACookieOfTheSameAnswer",
	},
	{
		rule: "of several cookies a valid one is found",
		file: "cookie.go",
		find: "const maxCandidates = 4\n",
		with: "const maxCandidates = 1\n",
		dies: "guarantees: TestGuarantee10_Cookies_TheValidOneIsFound",
	},
	{
		rule: "of several valid ones the latest issued counts",
		file: "load.go",
		find: "		if st.base == nil || laterIssued(record, st.base) {",
		with: "		if st.base == nil {",
		dies: "field: TestField31_TheLatestIssuedOfTwoValidCookies",
	},
	{
		rule: "and not the one that was used last",
		file: "load.go",
		find: "	if !a.IssuedAt.Equal(b.IssuedAt) {\n		return a.IssuedAt.After(b.IssuedAt)\n	}\n",
		with: "",
		dies: "field: TestField31_TheLatestIssuedOfTwoValidCookies",
	},
	{
		rule: "a persistent cookie has a lifetime",
		file: "cookie.go",
		find: "	if r.Persistent {\n",
		with: "	if false {\n",
		dies: "guarantees: TestGuarantee09_SetPersistent",
	},
	{
		rule: "a cookie whose lifetime changed is sent again",
		file: "commit_steps.go",
		find: "		if set, ok := c.(setting); ok && (set.persistent != nil || set.limits != nil && s.base.Persistent) {",
		with: "		if set, ok := c.(setting); ok && set.persistent != nil && false {",
		dies: "guarantees: TestGuarantee09_PersistentAgain",
	},
	{
		rule: "an expired cookie beside a live one does not count",
		file: "load.go",
		find: "		st.expired, st.revoked = false, nil\n",
		with: "		st.revoked = nil\n",
		dies: "field: TestField20_ExpiredIsTold",
	},
}

// Guarantee 11: garbage is turned away before the store is asked. Nothing is accepted in a second spelling, or for another realm.
var inputs = []mutation{
	{
		rule: "a token's check bytes are compared",
		file: "token.go",
		find: "	if string(raw[secretSize:]) != string(sum[idSize:idSize+checkSize]) {\n		return Token{}, false\n	}\n",
		with: "",
		dies: "root: TestGuarantee11_CheckBytes; guarantees: TestGuarantee11_TenThousandBadCookies",
	},
	{
		rule: "so is the checksum of a sealed value",
		file: "token.go",
		find: "	if sum := checksum(realm, sealed); value[dot+1:] != string(sum[:]) {\n		return Token{}, false\n	}\n",
		with: "",
		dies: "root: TestGuarantee11_SealedValuesHaveOneSpelling",
	},
	{
		rule: "a token has one spelling",
		file: "token.go",
		find: "var base64url = base64.RawURLEncoding.Strict()",
		with: "var base64url = base64.RawURLEncoding",
		dies: "root: TestGuarantee11_ServerTokensHaveOneSpelling|TestCookieStore_OneSpelling",
	},
	{
		rule: "a sealed cookie has one spelling",
		file: "cookie_store.go",
		find: "	if err != nil || hasLineEnds || len(sealed) < shortestValue {",
		with: "	if _ = hasLineEnds; err != nil || len(sealed) < shortestValue {",
		dies: "root: TestCookieStore_OneSpelling",
	},
	{
		rule: "a store returns the record that was asked for",
		file: "load.go",
		find: "token.ID() != \"\" && record.ID != token.ID() || ",
		with: "",
		dies: "advisories: TestAdvisory_OutOfOrderReplies",
	},
	{
		rule: "another realm has another checksum",
		file: "token.go",
		find: "		t.cookie = nil",
		with: "		_ = t.cookie",
		dies: "root: TestToken_AnotherRealmHasAnotherCookie",
	},
	{
		rule: "realms accept nothing of each other",
		file: "token.go",
		find: "	b = append(b, realm...)\n	b = append(b, 0)\n	b = append(b, secret...)",
		with: "	_ = realm\n	b = append(b, 0)\n	b = append(b, secret...)",
		dies: "advisories: TestAdvisory_SharedNamespace_NameIsPartOfTheToken",
	},
	{
		rule: "names of cookies are compared exactly",
		file: "cookie.go",
		find: "			value, ok := strings.CutPrefix(textproto.TrimString(part), name)\n",
		with: "			part = textproto.TrimString(part)\n			value, ok := part[min(len(name), len(part)):], len(part) >= len(name) && strings.EqualFold(part[:len(name)], name)\n",
		dies: "advisories: TestAdvisory_NameDecoding",
	},
}

// Guarantee 12: what comes back is what was set. What would be altered is refused, with its key's name.
var values = []mutation{
	{
		rule: "a value that can't be encoded fails the commit",
		file: "commit.go",
		find: "cmp.Or(q.failure, st.loadErr, st.adoptErr, st.encodeErr); err != nil",
		with: "cmp.Or(q.failure, st.loadErr, st.adoptErr); err != nil",
		dies: "guarantees: TestGuarantee12_RefusedWithTheKeysName",
	},
	{
		rule: "a value that can't be encoded goes with a Destroy",
		file: "session.go",
		find: "		st.encodeErr = nil // it was about values that are gone now\n",
		with: "",
		dies: "guarantees: TestGuarantee12_ABadValueDoesNotStandInTheWayOfALogout",
	},
	{
		rule: "one that Revalidate sets fails the commit too",
		file: "load.go",
		find: "	st.encodeErr, st.decodeErr = probe.state.encodeErr, probe.state.decodeErr\n",
		with: "	st.decodeErr = probe.state.decodeErr\n",
		dies: "guarantees: TestGuarantee12_ABadValueSetByRevalidate",
	},
	{
		rule: "text that JSON would alter is refused",
		file: "internal/jsonvalue/encode.go",
		find: "	if !utf8.ValidString(text) {\n		return errNoText\n	}\n",
		with: "	_ = utf8.ValidString(text)\n",
		dies: "field: TestField01_TextBesideValuesIsChecked",
	},
	{
		rule: "so is a value",
		file: "internal/jsonvalue/encode.go",
		find: "	if err := check(v); err != nil {\n		return nil, err\n	}\n",
		with: "",
		dies: "field: TestField01_WhatWouldBeAlteredIsRefused",
	},
	{
		rule: "what is nested too deep to be read is refused",
		file: "internal/jsonvalue/encode.go",
		find: "	case tooDeep(raw):\n		return nil, errDepth\n",
		with: "",
		dies: "internal/jsonvalue: TestEncode_WhatWouldBeAlteredIsRefused",
	},
	{
		rule: "numbers into any are not rounded",
		file: "internal/jsonvalue/decode.go",
		find: "	d.UseNumber()\n",
		with: "",
		dies: "internal/jsonvalue: TestDecode_NumbersIntoAnyAreNotRounded",
	},
	{
		rule: "a stored value that does not fit is told",
		file: "session.go",
		find: "	s.state.decodeErr = cmp.Or(s.state.decodeErr, err)\n",
		with: "",
		dies: "guarantees: TestGuarantee12_ATypeThatChanged",
	},
}

// Guarantee 13: the first secret seals, all open. Weak ones are refused. Keys are derived for one purpose and one realm.
var secrets = []mutation{
	{
		rule: "the first secret seals",
		file: "cookie_store.go",
		find: "	key := &c[0]\n",
		with: "	key := &c[len(c)-1]\n",
		dies: "guarantees: TestGuarantee13_Secrets_Rotation",
	},
	{
		rule: "all secrets open",
		file: "cookie_store.go",
		find: "	for i := range c {\n		key := &c[i]\n",
		with: "	for i := range c[:1] {\n		key := &c[i]\n",
		dies: "guarantees: TestGuarantee13_Secrets_Rotation",
	},
	{
		rule: "what an old secret opened is sealed again",
		file: "cookie_store.go",
		find: "	r.Stale = stale\n",
		with: "	_ = stale\n",
		dies: "guarantees: TestGuarantee13_Secrets_Rotation",
	},
	{
		rule: "keys are of one purpose and one realm",
		file: "cookie_store.go",
		find: "	return hkdf.Key(sha256.New, secret, nil, purpose+\"\\x00\"+realm, size)",
		with: "	_ = realm\n	return hkdf.Key(sha256.New, secret, nil, purpose, size)",
		dies: "root: TestCookieStore_KeysAreDerivedOnceForEachRealm",
	},
	{
		rule: "short secrets are refused",
		file: "secrets.go",
		find: "	if len(secret) < minSecret {",
		with: "	if len(secret) < 1 {",
		dies: "root: TestAdvisory_StaticSecret_Refused",
	},
	{
		rule: "known secrets are refused",
		file: "secrets.go",
		find: "	if slices.Contains(exampleSecrets, lower) || slices.ContainsFunc(examplePhrases, known) {",
		with: "	if _ = known; false {",
		dies: "root: TestAdvisory_StaticSecret_Refused",
	},
	{
		rule: "secrets that a person would type are refused",
		file: "secrets.go",
		find: "	if !hasSurprises(secret, lower) {",
		with: "	if false {",
		dies: "root: TestAdvisory_StaticSecret_Refused",
	},
	{
		rule: "gorilla's pair of keys is refused",
		file: "secrets.go",
		find: "	return len(hash) == 64 && len(block) == 32 && isRaw(hash) && isRaw(block)\n",
		with: "	return len(hash) == 64 && len(block) == 31 && isRaw(hash) && isRaw(block)\n",
		dies: "root: TestSecrets_GorillasPairOfKeys",
	},
}

// Guarantee 14: stores see a hash. Tokens appear in no text.
var rest = []mutation{
	{
		rule: "a dump of the store holds nothing to be sent",
		file: "token.go",
		find: "func (t Token) ID() string { return t.id }",
		with: "func (t Token) ID() string {\n	if t.sealed() || t.Value() == \"\" {\n		return t.id\n	}\n	return t.Value()\n}",
		dies: "guarantees: TestGuarantee14_WhatAStoreKeepsOpensNothing|TestGuarantee14_AtRest_RedisHoldsNoToken",
	},
	{
		rule: "tokens do not appear in %v, %+v and %#v",
		file: "token.go",
		find: "_, _ = io.WriteString(f, t.id) }",
		with: "_, _ = io.WriteString(f, t.Value()) }",
		dies: "root: TestGuarantee14_TokensDoNotPrint|TestGuarantee14_PrintsAsItsID",
	},
	{
		rule: "nor in slog",
		file: "token.go",
		find: "return slog.StringValue(t.id) }",
		with: "return slog.StringValue(t.Value()) }",
		dies: "root: TestGuarantee14_TokensDoNotPrint|TestGuarantee14_PrintsAsItsID",
	},
	{
		rule: "nor in JSON",
		file: "token.go",
		find: "return []byte(t.id), nil }",
		with: "return []byte(t.Value()), nil }",
		dies: "root: TestGuarantee14_TokensDoNotPrint|TestGuarantee14_PrintsAsItsID",
	},
	{
		rule: "nor in events and logs",
		file: "load.go",
		find: "	q.noteEvent(EventRejected, &Record{ID: token.ID()}, reason, nil)\n",
		with: "	q.noteEvent(EventRejected, &Record{ID: token.Value()}, reason, nil)\n",
		dies: "guarantees: TestGuarantee14_AtRest_NothingSaidHasAToken",
	},
	{
		rule: "nor in a request's context",
		file: "request.go",
		find: "	_, _ = io.WriteString(f, \"session.requestContext\")\n",
		with: "	_, _ = io.WriteString(f, c.request.cookie)\n",
		dies: "guarantees: TestGuarantee14_ContextsTellNoCookie",
	},
}

// Guarantee 15: all methods may be called from several goroutines. Application code never runs under the session's lock.
var concurrency = []mutation{
	{
		rule: "updates of one request do not undo each other",
		file: "session.go",
		find: "		if noted = string(st.view.get(key)) == string(old); !noted {",
		with: "		if _ = old; !noted {",
		dies: "guarantees: TestGuarantee15_AnUpdateWhileAnotherRuns",
	},
	{
		rule: "what is set while a commit replays is not lost",
		file: "commit.go",
		find: "	for done, rounds := 0, 0; done < len(st.log); rounds++ {",
		with: "	for done, rounds := 0, 0; done < len(st.log) && rounds == 0; rounds++ {",
		dies: "guarantees: TestGuarantee15_SetWhileAnUpdateRunsAgain",
	},
	{
		rule: "a store's context has no session",
		file: "store_context.go",
		find: "	case sessionKey, managerKey, requestKey:\n		return nil\n",
		with: "",
		dies: "field: TestField32_AStoresContextCannotReachTheSession",
	},
	{
		rule: "an Update that uses its session does not try for ever",
		file: "session.go",
		find: "	for range maxUpdateTries {\n		old",
		with: "	for {\n		old",
		dies: "field: TestField32_AnUpdateThatUsesItsSession", hangs: true,
	},
	{
		rule: "what Revalidate changes comes first",
		file: "load.go",
		find: "		st.log, st.view = probe.state.log, probe.state.view\n",
		with: "		st.view = probe.state.view\n",
		dies: "field: TestField33_WhatRevalidateChangesComesFirst",
	},
	{
		rule: "Revalidate may not log in",
		file: "session.go",
		find: "	if s.probe {\n		return errInRevalidate\n	}\n	return s.lifecycle(func(st *state) error {\n		if s.cookieSent() {",
		with: "	return s.lifecycle(func(st *state) error {\n		if s.cookieSent() {",
		dies: "field: TestField33_WhatRevalidateMayNotDo",
	},
}
