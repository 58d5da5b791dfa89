/* The words and codes of gRPC: status names, the table from HTTP's codes, grpc-timeout, the percent-encoding of
 * grpc-message. No state; any thread. */
#include "sidecar/grpc/grpc.h"

#include "sidecar/base/die.h"

static const char *const status_names[GRPC_STATUS_COUNT] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

const char *grpc_status_name(enum grpc_status status)
{
    assert(status < GRPC_STATUS_COUNT);
    return status_names[status];
}

enum grpc_status grpc_status_of_http(unsigned http_status)
{
    switch (http_status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

unsigned grpc_status_to_http(struct str value)
{
    static const uint16_t codes[GRPC_STATUS_COUNT] = {
        [GRPC_OK] = 200,
        [GRPC_CANCELLED] = 499,
        [GRPC_UNKNOWN] = 500,
        [GRPC_INVALID_ARGUMENT] = 400,
        [GRPC_DEADLINE_EXCEEDED] = 504,
        [GRPC_NOT_FOUND] = 404,
        [GRPC_ALREADY_EXISTS] = 409,
        [GRPC_PERMISSION_DENIED] = 403,
        [GRPC_RESOURCE_EXHAUSTED] = 429,
        [GRPC_FAILED_PRECONDITION] = 400,
        [GRPC_ABORTED] = 409,
        [GRPC_OUT_OF_RANGE] = 400,
        [GRPC_UNIMPLEMENTED] = 501,
        [GRPC_INTERNAL] = 500,
        [GRPC_UNAVAILABLE] = 503,
        [GRPC_DATA_LOSS] = 500,
        [GRPC_UNAUTHENTICATED] = 401,
    };
    uint64_t number;
    return str_to_u64(value, &number) && number < GRPC_STATUS_COUNT ? codes[number] : 500;
}

unsigned grpc_code_of_answer(const struct http_request *request, const struct http_response *response)
{
    struct str status = request->is_grpc ? headers_get(&response->headers, HDR_GRPC_STATUS) : STR_NONE;
    return status.p ? grpc_status_to_http(status) : response->status;
}

bool grpc_status_parse(struct str value, enum grpc_status *status_r)
{
    uint64_t number;
    if (!str_to_u64(value, &number))
        return false;
    *status_r = number < GRPC_STATUS_COUNT ? (enum grpc_status)number : GRPC_UNKNOWN;
    return true;
}

bool grpc_timeout_parse(struct str value, uint64_t *ns_r)
{
    /* TimeoutValue is at most 8 digits, so the product needs a check only for hours and minutes. */
    if (value.n < 2 || value.n > 9)
        return false;
    uint64_t unit_ns;
    switch (value.p[value.n - 1]) {
    case 'H':
        unit_ns = 3600ull * 1000 * 1000 * 1000;
        break;
    case 'M':
        unit_ns = 60ull * 1000 * 1000 * 1000;
        break;
    case 'S':
        unit_ns = 1000ull * 1000 * 1000;
        break;
    case 'm':
        unit_ns = 1000ull * 1000;
        break;
    case 'u':
        unit_ns = 1000;
        break;
    case 'n':
        unit_ns = 1;
        break;
    default:
        return false;
    }
    uint64_t amount;
    if (!str_to_u64(str_n(value.p, value.n - 1), &amount))
        return false;
    *ns_r = amount > UINT64_MAX / unit_ns ? UINT64_MAX : amount * unit_ns;
    return true;
}

struct str grpc_timeout_format(struct arena *arena, uint64_t ms)
{
    if (ms < 100000000)
        return arena_printf(arena, "%llum", (unsigned long long)ms);
    uint64_t seconds = ms / 1000 + (ms % 1000 > 0);
    if (seconds < 100000000)
        return arena_printf(arena, "%lluS", (unsigned long long)seconds);
    uint64_t hours = seconds / 3600 + (seconds % 3600 > 0);
    return arena_printf(arena, "%lluH", (unsigned long long)(hours < 99999999 ? hours : 99999999));
}

static bool is_unescaped(uint8_t c)
{
    return c >= 0x20 && c <= 0x7e && c != '%';
}

struct str grpc_message_encode(struct arena *arena, struct str text)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += is_unescaped((uint8_t)text.p[i]) ? 1 : 3;
    if (n == text.n)
        return text;
    char *out = arena_alloc(arena, n);
    size_t at = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = (uint8_t)text.p[i];
        if (is_unescaped(c)) {
            out[at++] = (char)c;
            continue;
        }
        out[at++] = '%';
        out[at++] = hex[c >> 4];
        out[at++] = hex[c & 15];
    }
    assert(at == n);
    return str_n(out, n);
}

struct str grpc_message_decode(struct arena *arena, struct str value)
{
    if (str_index(value, '%', 0) < 0)
        return value;
    char *out = arena_alloc(arena, value.n);
    size_t at = 0;
    for (size_t i = 0; i < value.n; i++) {
        int high = -1, low = -1;
        if (value.p[i] == '%' && value.n - i > 2) {
            high = ascii_hex(value.p[i + 1]);
            low = ascii_hex(value.p[i + 2]);
        }
        if (high < 0 || low < 0) {
            /* The specification: a bad escape is shown as it is, never an error. */
            out[at++] = value.p[i];
            continue;
        }
        out[at++] = (char)(high << 4 | low);
        i += 2;
    }
    return str_n(out, at);
}
