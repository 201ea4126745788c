#!/bin/bash
# `ready`: nginx has answered a request.
nginx
exec 3<>/dev/tcp/127.0.0.1/80
printf 'GET / HTTP/1.0\r\n\r\n' >&3
grep -q 'hello from nginx' <&3 && echo ready
nginx -s quit
