#!/usr/bin/env bats
# dedupctl profile show --html: the page as parsers and a browser see it. DEDUPCTL names the program (ctest sets it).

bats_require_minimum_version 1.5.0

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export DEDUP_SOCKET=$BATS_TEST_TMPDIR/nobody
}

# page FILES [--plain]: the page of a made-up start, page.html.
page() {
  python3 "$BATS_TEST_DIRNAME/make-trace.py" "$@" | zstd -qcf >trace
  "$DEDUPCTL" profile show trace --html page.html
}

need_browser() {
  command -v chromium >/dev/null || skip "no browser looks at the page: chromium is not installed"
}

# browser ARGUMENT...: of this test alone, without a network. What pages say on their console is in "console".
browser() {
  timeout 100 chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --disable-dev-shm-usage \
    --user-data-dir="$BATS_TEST_TMPDIR/browser" --host-resolver-rules="MAP * ~NOTFOUND" --blink-settings=preferredColorScheme=1 \
    --enable-logging=stderr --v=0 "$@" 2>log
  grep CONSOLE log >console || true
}

@test "writes one file for everything, in place of an old one, and nothing when the profile is bad" {
  echo old >page.html
  run --separate-stderr page 300
  [ "$status" -eq 0 ]
  [ "$output" = "page.html: 321 ranges, 13.9 MiB, 1 run, source touches" ]
  [ -z "$stderr" ]
  # Names nothing that a browser would load.
  run ! grep -oE '.{9}( src=| href=|url\(|@import|https?:).{9}' page.html
  [ "$("$DEDUPCTL" profile show trace --html page.html --json | jq -r '.html, .ranges' | paste -sd' ')" = "page.html 321" ]
  echo bad >trace
  cp page.html before
  run "$DEDUPCTL" profile show trace --html page.html
  [ "$status" -eq 1 ]
  cmp page.html before
  run "$DEDUPCTL" profile show before --html absent/page.html
  [ "$status" -eq 1 ]
}

@test "is well-formed, with the numbers of --json, whatever files are called" {
  evil='/a\\"><script>alert(1)</script><img src=x onerror=alert(2)>\&amp;\\u001b[2J/'
  python3 "$BATS_TEST_DIRNAME/make-trace.py" 200 | sed "s|/app/service/|$evil|" | zstd -qcf >trace
  "$DEDUPCTL" profile show trace --html page.html --json >object
  grep -q 'alert(2)' object
  python3 - <<'END' >page.json
import html.parser, json, xml.etree.ElementTree as tree

root = tree.parse("page.html").getroot()
tiles = {tile.get("id"): [int(data.get("value")) for data in tile.iter("data")]
         for tile in root.iter("div") if tile.get("class") == "tile"}
rows = [["".join(cell.itertext()) for cell in row] for row in root.find(".//table[@id='files']/tbody")]

class Names(html.parser.HTMLParser):
    seen = []
    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        assert not any(name.startswith("on") for name, _ in attributes)

Names().feed(open("page.html").read())
print(json.dumps({"tiles": tiles, "rows": len(rows), "evil": sum("<script>alert(1)" in row[0] for row in rows),
                  "scripts": Names.seen.count("script"), "images": Names.seen.count("img")}))
END
  [ "$(jq -c '[.scripts, .images]' page.json)" = '[1,0]' ]
  [ "$(jq .evil page.json)" -gt 5 ]
  [ "$(jq -c '.tiles | [.touched[0], .misses[0], .reader[0], .reader[2], .prefetch[0], .vain[0], .background[0]]' page.json)" = \
    "$(jq -c '[.bytes, .trace.touched.miss, .trace.fetched.reader.bytes, .trace.wait_us, .trace.fetched.prefetch.bytes,
      .trace.in_vain_bytes, .trace.fetched.background.bytes]' object)" ]
  [ "$(jq .rows page.json)" = "$(jq '[.entries[].path, (.fetches[] | select(.by != "background") | .path)] | unique | length' object)" ]
}

@test "a browser draws it: the size, and the colours of what was prefetched, in vain, and for readers" {
  need_browser
  page 300
  browser --window-size=800,600 --screenshot="$PWD/page.png" "file://$PWD/page.html"
  [ ! -s console ]
  python3 "$BATS_TEST_DIRNAME/read-png.py" page.png >picture
  [ "$(jq -c '[.width, .height]' picture)" = '[800,600]' ]
  for color in 7ab8de 7a4b8c; do
    [ "$(jq ".colors[\"$color\"] // 0" picture)" -gt 1000 ]
  done
  # Without its areas it would be another picture.
  sed 's/path class="area/path class="nothing/' page.html >without.html
  browser --window-size=800,600 --screenshot="$PWD/page.png" "file://$PWD/without.html"
  [ "$(python3 "$BATS_TEST_DIRNAME/read-png.py" page.png | jq '.colors["7ab8de"] // 0')" -lt 1000 ]
}

@test "its script runs to the end, and no other may run" {
  need_browser
  page 300
  browser --dump-dom "file://$PWD/page.html" >dom
  [ ! -s console ]
  grep -q '<input type="search"' dom
  grep -q 'id="tip"' dom
  # A browser that says nothing would find the next two as good.
  sed 's|</main>|</main><script>document.title = "foreign"</script>|' page.html >foreign.html
  browser --dump-dom "file://$PWD/foreign.html" >dom
  grep -q 'Content Security Policy' console
  run ! grep '<title>foreign' dom
  sed 's|"use strict";|"use strict"; absent();|; /Content-Security-Policy/d' page.html >broken.html
  browser --dump-dom "file://$PWD/broken.html" >dom
  grep -q 'absent is not defined' console
}
