# Samples -> rows of the table. $watched: recorded starts; $needed: compressed bytes that a start of each image needs.
def median(f): map(f) | at(0.5);
def rtt_s: split(":")[0] | tonumber / 1000;
def mbit: split(":") | last | tonumber;

group_by([.link, .image]) | map(
  .[0] as {$link, $image}
  | group_by([.mode, .door]) as $modes
  | ($modes | map(median(.warm_s)) | min) as $warm_s
  | (4 * ($link | rtt_s) + (if ($link | mbit) > 0 then $needed[$image] * 8 / 1e6 / ($link | mbit) else 0 end) + $warm_s) as $floor
  | ($modes | map(select(.[0].mode == "overlayfs-1.6") | median(.total_s)) | first) as $overlayfs
  | $modes | map(
    . as $samples | .[0] as {$mode, $door}
    | ([$watched[] | select(.link == $link and .image == $image and .mode == $mode and .door == $door).touched] | first) as $touched
    | ($touched // {} | add) as $all
    | {link: $link, image: $image, mode: $mode, door: $door, runs: length, pull_s: median(.pull_s), run_s: median(.run_s),
       total_s: median(.total_s), p95_s: (map(.total_s) | at(0.95)), warm_s: median(.warm_s), floor_s: $floor,
       of_floor: (median(.total_s) / $floor), faster: (if $overlayfs then $overlayfs / median(.total_s) else null end),
       mb: (median(.bytes) / 1e6), requests: median(.requests), cpu_s: median(.cpu_s), peak_mib: (median(.peak_bytes) / 1048576),
       touched: $all, miss_pct: (if $all then $touched.miss * 100 / $all else null end),
       late_pct: (if $all then $touched.late * 100 / $all else null end), gap: null}
    | map_values(if type == "number" then digits(2) else . end)) | sort_by(.total_s)) | flatten as $rows
| $rows + ($gaps | map(. as $gap | $rows[0] | map_values(null) | . + $gap))
