// A receiver over TLS with client certificates: what it reads it appends to a file.
const fs = require('node:fs');
const tls = require('node:tls');

const [port, version, received, ca, cert, key] = process.argv.slice(2);
const options = {
    ca: fs.readFileSync(ca),
    cert: fs.readFileSync(cert),
    key: fs.readFileSync(key),
    requestCert: true,
    minVersion: `TLSv${version}`,
    maxVersion: `TLSv${version}`,
};
const server = tls.createServer(options, (socket) => {
    socket.on('data', (data) => fs.appendFileSync(received, data));
    socket.on('error', (error) => console.error(error.message));
});
server.listen(port, '127.0.0.1');
