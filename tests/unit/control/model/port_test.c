/* What a port speaks, by appProtocol, name and number. */
#include "control/model/port.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_protocol_is_told_as_istio_tells_it(void **state)
{
    (void)state;
    static const struct {
        const char *name, *app_protocol, *l4;
        uint32_t number;
        enum port_protocol protocol;
    } rows[] = {
        {"http", "", "TCP", 80, PORT_HTTP},
        {"http-web", "", "", 80, PORT_HTTP},
        {"HTTP2-x", "", "", 80, PORT_HTTP2},
        {"grpc", "", "", 80, PORT_GRPC},
        {"grpc-web", "", "", 80, PORT_GRPC_WEB},
        {"grpc-web-x", "", "", 80, PORT_GRPC_WEB},
        {"grpc-webx", "", "", 80, PORT_GRPC},
        {"tcp-http", "", "", 80, PORT_TCP},
        {"https", "", "", 443, PORT_HTTPS},
        {"tls-x", "", "", 443, PORT_TLS},
        {"mongo", "", "", 1, PORT_MONGO},
        {"httpx", "", "", 80, PORT_SNIFFED},
        {"", "", "", 8080, PORT_SNIFFED},
        {"", "", "", 3306, PORT_TCP},
        {"db", "", "", 27017, PORT_TCP},
        {"http", "tcp", "", 80, PORT_TCP},
        {"tcp", "kubernetes.io/h2c", "", 80, PORT_HTTP2},
        {"x", "kubernetes.io/ws", "", 80, PORT_HTTP},
        {"x", "kubernetes.io/wss", "", 80, PORT_HTTPS},
        {"http", "example.com/own", "", 80, PORT_SNIFFED},
        {"http", "", "UDP", 80, PORT_UDP},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum port_protocol got =
            port_protocol_of(str_of(rows[i].name), str_of(rows[i].app_protocol), str_of(rows[i].l4), rows[i].number);
        if (got != rows[i].protocol)
            fail_msg("%s/%s/%u: %s, not %s", rows[i].name, rows[i].app_protocol, rows[i].number, port_protocol_name(got),
                     port_protocol_name(rows[i].protocol));
    }
}

static void families_of_protocols(void **state)
{
    (void)state;
    assert_true(port_is_http(PORT_HTTP) && port_is_http(PORT_GRPC_WEB) && !port_is_http(PORT_HTTPS));
    assert_true(port_is_http2(PORT_GRPC) && !port_is_http2(PORT_HTTP));
    assert_true(port_is_http_or_sniffed(PORT_SNIFFED) && !port_is_http_or_sniffed(PORT_TCP));
    assert_true(port_is_tls(PORT_HTTPS) && port_is_tls(PORT_TLS) && !port_is_tls(PORT_TCP));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_protocol_is_told_as_istio_tells_it),
        cmocka_unit_test(families_of_protocols),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
