/* What stands before the first byte of a request: the header of the PROXY protocol, and what its faults cost. */
#include "tests/unit/proxy/client_world.h"

#define HEADER(fields) \
    "listener_filters: [{name: p, typed_config: {" TYPE("listener.proxy_protocol.v3.ProxyProtocol") fields "}}]"
#define ANSWER                                                                                                     \
    "{name: h, typed_config: {" TYPE("network.http_connection_manager.v3.HttpConnectionManager") ", @LOG@, "       \
    "stat_prefix: h, use_remote_address: true, http_filters: [{name: r, typed_config: {"                           \
    TYPE("http.router.v3.Router") "}}], route_config: {name: r, virtual_hosts: [{name: v, domains: [\"*\"], "      \
    "routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}]}]}}}"
#define LISTENER(fields)                                                                                           \
    "{name: l, stat_prefix: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, " fields            \
    ", filter_chains: [{filter_chain_match: {source_prefix_ranges: [{address_prefix: 1.2.0.0, prefix_len: 16}]}, " \
    "filters: [" ANSWER "]}]}"

static void begin_at(const char *yaml, const char *bytes)
{
    struct addr at = world_listen(&w, yaml);
    begin(&at, bytes);
}

static bool is_over(void)
{
    return is_closed() && proxy_active_connections(w.proxy) == 0;
}

static bool is_answered(void)
{
    return has(&client, "\r\n\r\nhello");
}

static void a_header_in_pieces_says_whom_a_connection_is_from(void **state)
{
    (void)state;
    begin_at(LISTENER(HEADER("")), "PROXY TCP4 1.2.3.4 5.");
    WORLD_UNTIL(&w, world_stat(&w, "listener.l.downstream_pre_cx_active") == 1);
    conn_write(client.conn, "6.7.8 111 222\r\n" GET, 15 + strlen(GET));
    WORLD_UNTIL(&w, is_answered());
    assert_int_equal(world_stat(&w, "proxy_proto.versions.v1.found"), 1);
    assert_int_equal(world_stat(&w, "listener.l.downstream_pre_cx_active"), 0);
    assert_int_equal(world_stat(&w, "http.h.downstream_cx_rx_bytes_total"), strlen(GET));
}

static void a_bad_header_resets_the_connection(void **state)
{
    (void)state;
    begin_at(LISTENER(HEADER("")), "PROXY TCP5\r\n" GET);
    WORLD_UNTIL(&w, is_over());
    assert_int_equal(world_stat(&w, "proxy_proto.versions.v1.error"), 1);
    assert_int_equal(world_stat(&w, "downstream_cx_proxy_proto_error"), 1);
    assert_int_equal(world_stat(&w, "listener.l.downstream_pre_cx_active"), 0);
    assert_int_equal(world_stat(&w, "listener.l.downstream_cx_total"), 0);
}

static void a_version_that_is_disallowed_is_found_and_refused(void **state)
{
    (void)state;
    begin_at(LISTENER(HEADER(", disallowed_versions: [V1], stat_prefix: x")), "PROXY UNKNOWN\r\n" GET);
    WORLD_UNTIL(&w, is_over());
    assert_int_equal(world_stat(&w, "proxy_proto.x.versions.v1.found"), 1);
    assert_int_equal(world_stat(&w, "proxy_proto.x.versions.v1.disallowed"), 1);
    assert_int_equal(world_stat(&w, "downstream_cx_proxy_proto_error"), 0);
}

static void an_absent_header_leaves_the_peers_own_address(void **state)
{
    (void)state;
    begin_at(LISTENER(HEADER(", allow_requests_without_proxy_protocol: true")), GET);
    WORLD_UNTIL(&w, is_over()); /* as no chain is for 127.0.0.1 */
    assert_int_equal(world_stat(&w, "proxy_proto.not_found_allowed"), 1);
    assert_int_equal(world_stat(&w, "listener.l.no_filter_chain_match"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_header_in_pieces_says_whom_a_connection_is_from),
        WORLD_TEST(a_bad_header_resets_the_connection),
        WORLD_TEST(a_version_that_is_disallowed_is_found_and_refused),
        WORLD_TEST(an_absent_header_leaves_the_peers_own_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
