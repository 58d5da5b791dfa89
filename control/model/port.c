/* One table of words; pure functions over it. */
#include "control/model/port.h"

#include "sidecar/base/die.h"

static const char *const names[PORT_PROTOCOL_COUNT] = {
    [PORT_SNIFFED] = "Unsupported", [PORT_TCP] = "TCP",           [PORT_UDP] = "UDP",
    [PORT_HTTP] = "HTTP",           [PORT_HTTP2] = "HTTP2",       [PORT_GRPC] = "GRPC",
    [PORT_GRPC_WEB] = "GRPC-Web",   [PORT_HTTPS] = "HTTPS",       [PORT_TLS] = "TLS",
    [PORT_MONGO] = "Mongo",         [PORT_REDIS] = "Redis",       [PORT_MYSQL] = "MySQL",
};

const char *port_protocol_name(enum port_protocol protocol)
{
    assert(protocol < PORT_PROTOCOL_COUNT);
    return names[protocol];
}

bool port_protocol_parse(struct str word, enum port_protocol *protocol_r)
{
    for (enum port_protocol p = PORT_TCP; p < PORT_PROTOCOL_COUNT; p++) {
        if (str_ieq(word, str_of(names[p]))) {
            *protocol_r = p;
            return true;
        }
    }
    return false;
}

static bool parse_standard(struct str word, enum port_protocol *protocol_r)
{
    static const struct {
        const char *word;
        enum port_protocol protocol;
    } standard[] = {
        {"kubernetes.io/h2c", PORT_HTTP2},
        {"kubernetes.io/ws", PORT_HTTP},
        {"kubernetes.io/wss", PORT_HTTPS},
    };
    for (size_t i = 0; i < ARRAY_LEN(standard); i++) {
        if (str_eq_c(word, standard[i].word)) {
            *protocol_r = standard[i].protocol;
            return true;
        }
    }
    return false;
}

/* "grpc-web" and "grpc-web-x" are the one name whose word holds a dash. */
static bool parse_name(struct str name, enum port_protocol *protocol_r)
{
    struct str grpc_web = STR("grpc-web");
    if (str_ihas_prefix(name, grpc_web) && (name.n == grpc_web.n || name.p[grpc_web.n] == '-')) {
        *protocol_r = PORT_GRPC_WEB;
        return true;
    }
    ptrdiff_t dash = str_index(name, '-', 0);
    return port_protocol_parse(dash < 0 ? name : str_sub(name, 0, (size_t)dash), protocol_r);
}

/* Protocols in which the server speaks first would hang a sniffer. */
static bool is_server_first(uint32_t number)
{
    return number == 25 || number == 53 || number == 3306 || number == 27017;
}

enum port_protocol port_protocol_of(struct str name, struct str app_protocol, struct str l4_protocol, uint32_t number)
{
    enum port_protocol protocol;
    if (str_eq_c(l4_protocol, "UDP") || str_eq_c(l4_protocol, "SCTP"))
        return PORT_UDP;
    if (parse_standard(app_protocol, &protocol))
        return protocol;
    if (parse_name(app_protocol.n > 0 ? app_protocol : name, &protocol))
        return protocol;
    return is_server_first(number) ? PORT_TCP : PORT_SNIFFED;
}

bool port_is_http(enum port_protocol protocol)
{
    return protocol == PORT_HTTP || protocol == PORT_HTTP2 || protocol == PORT_GRPC || protocol == PORT_GRPC_WEB;
}

bool port_is_http2(enum port_protocol protocol)
{
    return protocol == PORT_HTTP2 || protocol == PORT_GRPC || protocol == PORT_GRPC_WEB;
}

bool port_is_http_or_sniffed(enum port_protocol protocol)
{
    return port_is_http(protocol) || protocol == PORT_SNIFFED;
}

bool port_is_tls(enum port_protocol protocol)
{
    return protocol == PORT_HTTPS || protocol == PORT_TLS;
}
