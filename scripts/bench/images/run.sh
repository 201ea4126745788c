#!/bin/bash
# Images: cold starts as coldstart measures them, of the other kinds of images, and of new versions on a node that has run the old one
# ("OLD>NEW"), behind each door. One round, over the third usual link: to see how images and doors differ.
#   run.sh [--runs N] [OPTION...]   those of coldstart/run.sh, which also says what the columns are
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
images='base postgres node jdk ml pyapp>pyapp-v2 node>node-v2' modes='overlayfs-1.6 lazy profile'
case " $* " in
  *" -h "* | *" --help "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
  *" --quick "*) images='demo>nginx' modes='lazy profile' ;;
esac
export BENCH=images
exec "$REPO/scripts/bench/coldstart/run.sh" --images "$images" --modes "$modes" --doors all --link 5:1000 --runs 1 "$@"
