//! Proxies, address families and the roots of TAP's own TLS.
