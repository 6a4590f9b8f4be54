package main

import (
	"net"
	"net/http"
	"strings"
)

// deviceOf describes the browser and address of a request, for people to recognise in the list of their sessions. It is
// what the browser says of itself, and proves nothing.
func deviceOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return browserName(r.UserAgent()) + " · " + host
}

// The first name whose mark is found wins: browsers also claim to be those further down.
var (
	browserMarks = [][2]string{
		{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"},
	}
	systemMarks = [][2]string{
		{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"},
	}
)

func browserName(userAgent string) string {
	browser, system := firstMark(userAgent, browserMarks), firstMark(userAgent, systemMarks)
	switch {
	case browser == "":
		return "Browser"
	case system == "":
		return browser
	}
	return browser + " on " + system
}

func firstMark(text string, marks [][2]string) string {
	for _, mark := range marks {
		if strings.Contains(text, mark[0]) {
			return mark[1]
		}
	}
	return ""
}
