// `ready`: the service has answered a request of its own client.
const express = require('express');
const axios = require('axios');
const _ = require('lodash');
const WebSocket = require('ws');

const app = express();
app.get('/', (request, response) => response.send(_.upperFirst('hello')));
const server = app.listen(3000, '127.0.0.1', async () => {
  new WebSocket.Server({ server });
  const answer = await axios.get('http://127.0.0.1:3000/');
  if (answer.data === 'Hello') console.log('ready: version 2');
  process.exit(0);
});
