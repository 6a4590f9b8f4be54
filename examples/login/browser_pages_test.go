package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func join(texts []string) string { return strings.Join(texts, "; ") }

// looks are the ways in which each page is looked at.
var looks = []struct {
	name          string
	scheme        string
	width, height int64
}{
	{"light", "light", 1100, 800},
	{"dark", "dark", 1100, 800},
	{"phone", "light", 390, 844},
	{"phone-dark", "dark", 390, 844},
	{"narrow", "light", 320, 640},
}

// gallery returns where the screenshots go.
func gallery(t *testing.T) string {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = t.ArtifactDir()
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}

// look takes pictures of the page, and checks what can be checked of how it looks.
func (b *tab) look(dir, name string) {
	b.t.Helper()
	for _, look := range looks {
		ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		cancel()
		require.NoError(b.t, err)
		b.do(chromedp.EmulateViewport(look.width, look.height))
		over := evaluate[int](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth")
		assert.LessOrEqual(b.t, over, 0, "%s, %s: scrolls sideways", name, look.name)
		for _, pair := range evaluate[[]string](b, contrastScript) {
			assert.Fail(b.t, "hard to read", "%s, %s: %s", name, look.name, pair)
		}
		picture := ask(b, chromedp.FullScreenshot(100))
		require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+"-"+look.name+".png"), picture, 0o644))
	}
	b.do(chromedp.ResetViewport())
	for _, fault := range evaluate[[]string](b, structureScript) {
		assert.Fail(b.t, "hard to use", "%s: %s", name, fault)
	}
}

// contrastScript lists the texts whose contrast with what is behind them is under 4.5 (WCAG 2.2, 1.4.3).
const contrastScript = `(() => {
	const parse = c => (c.match(/[\d.]+/g) || []).map(Number);
	const luminance = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
	const behind = e => {
		for (; e; e = e.parentElement) {
			const c = parse(getComputedStyle(e).backgroundColor);
			if (c.length === 3 || c[3] === 1) return c;
		}
		return [255, 255, 255];
	};
	const faults = [];
	for (const e of document.querySelectorAll('body *')) {
		const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.matches('input');
		if (!own || !e.checkVisibility()) continue;
		const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
		const ratio = (a + .05) / (b + .05);
		if (ratio < 4.5) faults.push(ratio.toFixed(2) + ': ' + e.tagName + ' ' + (e.textContent || e.id));
	}
	return faults;
})()`

// structureScript lists what would get in the way of a screen reader or the keyboard.
const structureScript = `(() => {
	const faults = [], all = s => [...document.querySelectorAll(s)];
	for (const s of ['html[lang]', 'main', 'header', 'footer', 'h1', 'title', '#flashes[aria-live]', 'a.skip[href="#content"]'])
		if (all(s).length !== 1 && s !== 'header') faults.push(all(s).length + ' of ' + s);
	for (const e of all('input:not([type=hidden]):not([aria-hidden]), select'))
		if (!e.labels.length) faults.push('no label: ' + e.outerHTML);
	for (const e of all('button, a'))
		if (!(e.getAttribute('aria-label') || e.textContent).trim()) faults.push('no name: ' + e.outerHTML);
	for (const e of all('[aria-describedby], [aria-labelledby]'))
		for (const id of (e.getAttribute('aria-describedby') || e.getAttribute('aria-labelledby')).split(' '))
			if (!document.getElementById(id)) faults.push('refers to nothing: ' + id);
	const ids = all('[id]').map(e => e.id);
	for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push('id twice: ' + id);
	let level = 0;
	for (const e of all('h1, h2, h3')) {
		if (+e.tagName[1] > level + 1) faults.push('heading skips a level: ' + e.textContent);
		level = +e.tagName[1];
	}
	for (const e of all('button, .button, input:not([type=hidden]):not([aria-hidden]), select'))
		if (e.checkVisibility() && e.getBoundingClientRect().height < 24) faults.push('small target: ' + e.outerHTML);
	for (const e of document.scripts) if (!e.src || e.type !== 'module') faults.push('a script in the page: ' + e.outerHTML);
	return faults;
})()`

func TestBrowserLooksAtEveryPage(t *testing.T) {
	dir := gallery(t)
	inBrowser(t, []string{"memory"}, func(t *testing.T, s *plainSite) {
		b := s.browser(t)
		b.open("/")
		b.look(dir, "home")
		b.open("/login")
		b.look(dir, "login")
		b.open("/login?next=/account")
		b.fill("#username", "ada")
		b.fill("#password", "difference-engine")
		b.click("#sign-in")
		b.look(dir, "login-refused")
		b.do(chromedp.RemoveAttribute(chromedp.CSS("#username"), "required"), chromedp.RemoveAttribute(chromedp.CSS("#password"), "required"))
		b.fill("#username", "")
		b.click("#sign-in")
		b.look(dir, "login-empty")
		b.open("/nowhere")
		b.look(dir, "error")

		b.signIn("ada", "analytical-engine")
		b.look(dir, "account")
		b.fill("#current", "difference-engine")
		b.fill("#new", "punched-cards")
		b.click("#change-password")
		b.look(dir, "account-refused")
		b.open("/")
		b.look(dir, "home-signed-in")
		b.open("/account/sessions")
		b.look(dir, "sessions-alone")
		s.adaOn(t, firefox)
		s.time.Advance(8 * time.Minute)
		s.adaOn(t, safari)
		s.time.Advance(8 * time.Minute)
		b.open("/account/sessions")
		b.look(dir, "sessions")
		b.click("#revoke-others") // the sign-in is a while ago by now
		b.look(dir, "login-again")
		b.fill("#password", "analytical-engine")
		b.click("#sign-in")
		b.click(`form[action$="/revoke"] button`)
		b.look(dir, "sessions-ended")
		b.click("#sign-out")
		b.look(dir, "signed-out")
		b.do(chromedp.SetValue(chromedp.CSS("#locale"), "de"))
		b.click(".language button")
		b.signIn("ada", "analytical-engine")
		b.look(dir, "account-german")
	})
	inBrowser(t, []string{"cookie"}, func(t *testing.T, s *plainSite) {
		b := s.browser(t).signIn("ada", "analytical-engine")
		b.open("/account/sessions")
		b.look(dir, "sessions-sealed")
	})
}
