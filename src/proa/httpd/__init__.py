"""HTTP/1.1 on asyncio: any handler of `client.protocol` on any number of listening sockets, over TLS or plain."""
