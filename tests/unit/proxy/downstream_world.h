/* Listeners in pieces of YAML, and a client that asks them over HTTP/1. */
#ifndef OUTRIGGER_TESTS_UNIT_PROXY_DOWNSTREAM_WORLD_H
#define OUTRIGGER_TESTS_UNIT_PROXY_DOWNSTREAM_WORLD_H

#include "tests/unit/proxy/client_world.h"

#include <stdlib.h>

#define ROUTER "{name: r, typed_config: {" TYPE("http.router.v3.Router") "}}"
#define ROUTES(body)                                                                              \
    "virtual_hosts: [{name: v, domains: [\"*\"], routes: [{match: {prefix: /}, direct_response: " \
    "{status: 200, body: "                                                                        \
    "{inline_string: " body "}}}]}]"
#define HCM(fields)                                                                          \
    "{name: h, typed_config: {" TYPE(                                                        \
        "network.http_connection_manager.v3.HttpConnectionManager") ", stat_prefix: h, "     \
                                                                    "http_filters: [" ROUTER \
                                                                    "], " fields "}}"
#define HELLO(fields) HCM("route_config: {name: r, " ROUTES("hello") "}, " fields)
#define TCP(cluster)                  \
    "{name: t, typed_config: {" TYPE( \
        "network.tcp_proxy.v3.TcpProxy") ", stat_prefix: p, @LOG@, cluster: " cluster "}}"
#define LISTENER(fields)                                                                    \
    "{name: l, stat_prefix: l, address: {socket_address: {address: 127.0.0.1, port_value: " \
    "1}}, " fields "}"
#define TLS_INSPECTOR \
    "{name: t, typed_config: {" TYPE("listener.tls_inspector.v3.TlsInspector") "}}"
#define HTTP_INSPECTOR \
    "{name: h, typed_config: {" TYPE("listener.http_inspector.v3.HttpInspector") "}}"
#define CHAINS(chains) "filter_chains: [" chains "]"
#define CHAIN(filters) "{filters: [" filters "]}"
#define CHAIN_FOR(match, filters) "{filter_chain_match: {" match "}, filters: [" filters "]}"

/* How a client of HTTP/2 begins: the preface, then SETTINGS. */
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
static const char empty_settings[] = "\0\0\0\4\0\0\0\0\0";

/* Sends a request on the open connection; the whole answer. */
static inline const char *ask(void)
{
    static char text[2048];
    buf_clear(&client.got);
    conn_write(client.conn, GET, strlen(GET));
    WORLD_UNTIL(&w, has(&client, "\r\n\r\nhello") || client.end_calls + client.eof_calls > 0);
    snprintf(text, sizeof(text), "%.*s", STR_FMT(buf_str(&client.got)));
    return text;
}

static inline bool tells_to_go(const char *answer)
{
    return strstr(answer, "connection: close\r\n") != NULL;
}

static inline void open_http(const char *fields)
{
    char *yaml = xasprintf(LISTENER("%s"), fields);
    struct addr at = world_listen(&w, yaml);
    free(yaml);
    begin(&at, "");
    assert_non_null(strstr(ask(), "HTTP/1.1 200 OK\r\n"));
}

#endif
