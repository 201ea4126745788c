// How the page of a profile looks, and what its script adds: sorting, a filter, and the file under
// the pointer. The picture needs no script. Colours that meet differ in lightness too, for people
// who see red and green alike: distances of 18 and more in CIELAB as they see them. Kinds of marks
// differ in shape or place as well. Data only.
#pragma once

#include <string_view>

namespace dedup {

inline constexpr std::string_view kPageStyle = R"(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--text:#16191d;--soft:#5b6470;--line:#e3e6ea;--grid:#e9ecef;
--touch:#16191d;--prefetch:#3d97d3;--reader:#cc4c02;--late:#edaa1a;--vain:#7b2d8b;--background:#a3abb4;--lead:#3d97d338;
--areaprefetch:#7ab8de;--areavain:#7a4b8c;--areabackground:#c9ced4;--vaintext:#7b2d8b;--label:270px}
@media (prefers-color-scheme:dark){:root{--page:#101317;--card:#181c22;--text:#e8ebef;--soft:#9aa5b1;--line:#2a3038;--grid:#252b33;
--touch:#f2f4f7;--prefetch:#7cc8f2;--reader:#f26b0f;--late:#ffd75e;--vain:#b5489b;--background:#4b545e;--lead:#56b4e938;
--areaprefetch:#2a648a;--areavain:#cf9bd6;--areabackground:#434c56;--vaintext:#cf9bd6}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1240px;margin:0 auto;padding:24px 20px 40px}
h1{font-size:22px;line-height:1.25;margin:0 0 6px;overflow-wrap:anywhere}
h2{font-size:15px;margin:0 0 2px}
code,td.path{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono","DejaVu Sans Mono",monospace}
dl.origin{display:flex;flex-wrap:wrap;gap:2px 22px;margin:0;color:var(--soft);font-size:13px}
dl.origin div{display:flex;gap:6px;min-width:0}
dl.origin dd{margin:0;color:var(--text);overflow-wrap:anywhere;min-width:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:18px 0}
.tile{background:var(--card);border:1px solid var(--line);border-top:3px solid var(--c,var(--line));border-radius:6px;padding:9px 12px}
.tile b{display:block;font-size:21px;line-height:1.25;font-weight:650}
.tile span{color:var(--soft);font-size:12.5px}
.tile .name{color:var(--text);font-size:12.5px;font-weight:600}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px;margin:0 0 14px}
.card p{margin:0 0 8px;color:var(--soft);font-size:13px}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0 14px;font-size:12.5px}
.legend span{display:inline-flex;align-items:center;gap:6px}
.legend svg{width:26px;height:14px;flex:none}
.plot{display:grid;grid-template-columns:var(--label) 6px minmax(0,1fr);gap:0 6px;margin-top:18px}
svg.layers{display:block;width:6px}rect.layer{fill:var(--text)}
.labels{position:relative;font-size:11px;color:var(--soft)}
.labels{mask-image:linear-gradient(90deg,transparent,#000 18px);-webkit-mask-image:linear-gradient(90deg,transparent,#000 18px)}
.labels span{position:absolute;right:0;max-width:100%;transform:translateY(-50%);white-space:nowrap;overflow:hidden;display:flex;justify-content:flex-end}
.files .labels{font:10.5px/1.3 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono","DejaVu Sans Mono",monospace}
.field{position:relative;min-width:0}
.field>svg{display:block;width:100%;overflow:visible}
.field path,.legend path{fill:none;vector-effect:non-scaling-stroke}
path.grid{stroke:var(--grid);stroke-width:1px}
path.start{stroke:var(--text);stroke-width:1.2px;stroke-dasharray:4 3;opacity:.75}
rect.pause{fill:var(--page);opacity:.85}
span.pause{position:absolute;top:6px;transform:translateX(-50%);writing-mode:vertical-rl;font-size:10px;line-height:1;color:var(--soft);pointer-events:none;white-space:nowrap}
rect.vainband{fill:var(--vain);opacity:.08}
path.area{stroke:none}
path.area.reader,.swatch.reader{fill:var(--reader)}path.area.prefetch,.swatch.prefetch{fill:var(--areaprefetch)}
path.area.vain,.swatch.vain{fill:var(--areavain)}path.area.background,.swatch.background{fill:var(--areabackground)}
path.curve{stroke:var(--touch);stroke-width:2px}
path.mark{stroke-width:2px}
path.lead{stroke:var(--lead);stroke-width:1.5px}
path.mark.touch{stroke:var(--touch)}path.mark.prefetch{stroke:var(--prefetch)}path.mark.vain{stroke:var(--vain)}
path.mark.reader{stroke:var(--reader);stroke-width:3px}path.mark.background{stroke:var(--background)}
path.wait.miss{stroke:var(--reader);opacity:.6}path.wait.late{stroke:var(--late)}
.times{position:relative;height:20px;font-size:11px;color:var(--soft)}
.times span{position:absolute;top:3px;transform:translateX(-50%);white-space:nowrap}
.starts{position:absolute;top:-16px;font-size:11px;white-space:nowrap;padding-left:5px}
.starts.left{transform:translateX(-100%);padding:0 5px 0 0}
#row{position:absolute;left:0;right:0;border-top:1px solid var(--text);opacity:.5;pointer-events:none}
#tip{position:absolute;z-index:2;background:var(--text);color:var(--card);border-radius:5px;padding:5px 8px;font-size:12px;pointer-events:none;
max-width:min(520px,90vw);overflow-wrap:anywhere}
#tip small{display:block;opacity:.8}
.tools{display:flex;justify-content:space-between;gap:12px;flex-wrap:wrap;align-items:baseline}
.tools input{font:inherit;font-size:13px;padding:4px 8px;border:1px solid var(--line);border-radius:5px;background:var(--page);color:inherit;min-width:200px}
.scroll{overflow:auto;max-height:680px;margin-top:8px}
table{border-collapse:collapse;width:100%;font-size:12.5px}
th{position:sticky;top:0;background:var(--card);text-align:right;font-weight:600;color:var(--soft);white-space:nowrap;box-shadow:inset 0 -1px var(--line);padding:5px 7px;vertical-align:bottom}
th.text,td.path{text-align:left}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer}
th[aria-sort] button{color:var(--text)}
th[aria-sort=ascending] button::after{content:" \25B2"}th[aria-sort=descending] button::after{content:" \25BC"}
td{text-align:right;padding:3px 7px;white-space:nowrap;border-top:1px solid var(--grid)}
td.path{white-space:normal;overflow-wrap:anywhere;min-width:290px;font-size:11px}
td.reader{color:var(--reader);font-weight:600}td.vain{color:var(--vaintext)}
tr.never td.path{color:var(--vaintext)}
tr:target,tr.hit{background:var(--lead)}
footer{color:var(--soft);font-size:12.5px}
@media (max-width:700px){:root{--label:92px}main{padding:14px 10px 30px}.card{padding:12px 10px}h1{font-size:18px}.times .odd{display:none}
.tiles{grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:8px}.tile b{font-size:18px}.labels{font-size:10px}.files .labels{font-size:9.5px}td.path{min-width:170px}th,td{padding-left:6px;padding-right:6px}}
@media print{.scroll{max-height:none;overflow:visible}body{background:#fff}}
)";

inline constexpr std::string_view kPageScript = R"(//<![CDATA[
"use strict";
(function () {
  var table = document.getElementById("files"), body = table.tBodies[0];
  var rows = Array.from(body.rows), heads = Array.from(table.tHead.rows[0].cells);
  function value(row, column) {
    var cell = row.cells[column], number = cell.getAttribute("data-v");
    return number === null ? (cell.textContent === "" ? -1 : cell.textContent) : Number(number);
  }
  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var text = head.classList.contains("text");
      var up = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "descending" : text;
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      rows.slice().sort(function (a, b) {
        var x = value(a, column), y = value(b, column);
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
  var filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "filter by path";
  filter.setAttribute("aria-label", "filter by path");
  document.getElementById("tools").appendChild(filter);
  filter.addEventListener("input", function () {
    rows.forEach(function (row) { row.hidden = row.cells[0].textContent.indexOf(filter.value) < 0; });
  });
  var picture = document.getElementById("picture");
  if (!picture) return;
  var field = picture.querySelector(".field"), svg = field.querySelector("svg");
  var tip = document.createElement("div"), mark = document.createElement("div"), at = -1;
  tip.id = "tip";
  mark.id = "row";
  tip.hidden = mark.hidden = true;
  field.appendChild(mark);
  field.appendChild(tip);
  function rowAt(y) {
    var d = picture.dataset, touched = Number(d.touched);
    if (y < touched * d.row) return Math.floor(y / d.row);
    return y < d.vaintop ? -1 : touched + Math.floor((y - d.vaintop) / d.vainrow);
  }
  svg.addEventListener("mousemove", function (event) {
    var box = svg.getBoundingClientRect(), y = event.clientY - box.top, x = event.clientX - box.left;
    at = rowAt(y);
    var row = rows[at];
    tip.hidden = mark.hidden = !row;
    if (!row) return;
    tip.textContent = row.cells[0].textContent;
    var about = document.createElement("small");
    about.textContent = row.getAttribute("data-about");
    tip.appendChild(about);
    mark.style.top = y + "px";
    tip.style.top = y + 14 + "px";
    tip.style.left = x < box.width / 2 ? x + 12 + "px" : "auto";
    tip.style.right = x < box.width / 2 ? "auto" : box.width - x + 12 + "px";
  });
  svg.addEventListener("mouseleave", function () { tip.hidden = mark.hidden = true; });
  svg.addEventListener("click", function () {
    rows.forEach(function (row, number) { row.classList.toggle("hit", number === at); });
    if (rows[at]) rows[at].scrollIntoView({block: "center"});
  });
})();
//]]>)";

}  // namespace dedup
