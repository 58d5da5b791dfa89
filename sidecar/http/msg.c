/* Facts about heads: names of versions, reasons of status codes, deep copies. No state; any thread. */
#include "sidecar/http/msg.h"

#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const version_names[HTTP_VERSION_COUNT] = {"HTTP/1.0", "HTTP/1.1", "HTTP/2"};

const char *http_version_name(enum http_version v)
{
    assert(v < HTTP_VERSION_COUNT);
    return version_names[v];
}

static const char *const reasons[600] = {
    [100] = "Continue",
    [101] = "Switching Protocols",
    [200] = "OK",
    [201] = "Created",
    [202] = "Accepted",
    [203] = "Non-Authoritative Information",
    [204] = "No Content",
    [205] = "Reset Content",
    [206] = "Partial Content",
    [207] = "Multi-Status",
    [208] = "Already Reported",
    [226] = "IM Used",
    [300] = "Multiple Choices",
    [301] = "Moved Permanently",
    [302] = "Found",
    [303] = "See Other",
    [304] = "Not Modified",
    [305] = "Use Proxy",
    [307] = "Temporary Redirect",
    [308] = "Permanent Redirect",
    [400] = "Bad Request",
    [401] = "Unauthorized",
    [402] = "Payment Required",
    [403] = "Forbidden",
    [404] = "Not Found",
    [405] = "Method Not Allowed",
    [406] = "Not Acceptable",
    [407] = "Proxy Authentication Required",
    [408] = "Request Timeout",
    [409] = "Conflict",
    [410] = "Gone",
    [411] = "Length Required",
    [412] = "Precondition Failed",
    [413] = "Payload Too Large",
    [414] = "URI Too Long",
    [415] = "Unsupported Media Type",
    [416] = "Range Not Satisfiable",
    [417] = "Expectation Failed",
    [421] = "Misdirected Request",
    [422] = "Unprocessable Entity",
    [423] = "Locked",
    [424] = "Failed Dependency",
    [425] = "Too Early",
    [426] = "Upgrade Required",
    [428] = "Precondition Required",
    [429] = "Too Many Requests",
    [431] = "Request Header Fields Too Large",
    [500] = "Internal Server Error",
    [501] = "Not Implemented",
    [502] = "Bad Gateway",
    [503] = "Service Unavailable",
    [504] = "Gateway Timeout",
    [505] = "HTTP Version Not Supported",
    [506] = "Variant Also Negotiates",
    [507] = "Insufficient Storage",
    [508] = "Loop Detected",
    [510] = "Not Extended",
    [511] = "Network Authentication Required",
};

const char *http_status_reason(unsigned status)
{
    return status < ARRAY_LEN(reasons) && reasons[status] ? reasons[status] : "Unknown";
}

void http_request_init(struct http_request *r, struct arena *arena)
{
    memset(r, 0, sizeof(*r));
    headers_init(&r->headers, arena);
    r->version = HTTP_1_1;
    r->content_length = -1;
}

void http_response_init(struct http_response *r, struct arena *arena)
{
    memset(r, 0, sizeof(*r));
    headers_init(&r->headers, arena);
    r->version = HTTP_1_1;
    r->content_length = -1;
}

void http_request_copy(struct http_request *to, const struct http_request *from, struct arena *arena)
{
    *to = *from;
    to->spelling = NULL;
    headers_copy(&to->headers, &from->headers, arena);
    to->method = arena_str(arena, from->method);
    to->scheme = arena_str(arena, from->scheme);
    to->authority = arena_str(arena, from->authority);
    to->path = arena_str(arena, from->path);
    to->protocol = arena_str(arena, from->protocol);
}

void http_request_join_fields(struct http_request *r)
{
    static const uint64_t one =
        HDR_BIT(HDR_ACCEPT) | HDR_BIT(HDR_CONTENT_TYPE) | HDR_BIT(HDR_EXPECT) | HDR_BIT(HDR_GRPC_TIMEOUT) |
        HDR_BIT(HDR_REFERER) | HDR_BIT(HDR_USER_AGENT) | HDR_BIT(HDR_VIA) | HDR_BIT(HDR_X_CLIENT_TRACE_ID) |
        HDR_BIT(HDR_X_ENVOY_ATTEMPT_COUNT) | HDR_BIT(HDR_X_ENVOY_DECORATOR_OPERATION) |
        HDR_BIT(HDR_X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER) | HDR_BIT(HDR_X_ENVOY_DOWNSTREAM_SERVICE_NODE) |
        HDR_BIT(HDR_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS) | HDR_BIT(HDR_X_ENVOY_EXTERNAL_ADDRESS) |
        HDR_BIT(HDR_X_ENVOY_FORCE_TRACE) | HDR_BIT(HDR_X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT) |
        HDR_BIT(HDR_X_ENVOY_INTERNAL) | HDR_BIT(HDR_X_ENVOY_IP_TAGS) | HDR_BIT(HDR_X_ENVOY_IS_TIMEOUT_RETRY) |
        HDR_BIT(HDR_X_ENVOY_MAX_RETRIES) | HDR_BIT(HDR_X_ENVOY_ORIGINAL_HOST) | HDR_BIT(HDR_X_ENVOY_ORIGINAL_PATH) |
        HDR_BIT(HDR_X_ENVOY_ORIGINAL_URL) | HDR_BIT(HDR_X_ENVOY_RETRIABLE_HEADER_NAMES) |
        HDR_BIT(HDR_X_ENVOY_RETRIABLE_STATUS_CODES) | HDR_BIT(HDR_X_ENVOY_RETRY_GRPC_ON) |
        HDR_BIT(HDR_X_ENVOY_RETRY_ON) | HDR_BIT(HDR_X_ENVOY_UPSTREAM_ALT_STAT_NAME) |
        HDR_BIT(HDR_X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS) | HDR_BIT(HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE) |
        HDR_BIT(HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS) | HDR_BIT(HDR_X_ENVOY_UPSTREAM_STREAM_DURATION_MS) |
        HDR_BIT(HDR_X_FORWARDED_CLIENT_CERT) | HDR_BIT(HDR_X_FORWARDED_FOR) | HDR_BIT(HDR_X_FORWARDED_HOST) |
        HDR_BIT(HDR_X_FORWARDED_PORT) | HDR_BIT(HDR_X_FORWARDED_PROTO) | HDR_BIT(HDR_X_REQUEST_ID);
    if (r->headers.repeated & one)
        headers_join_repeated(&r->headers, one);
}

void http_response_join_fields(struct http_response *r)
{
    static const uint64_t one =
        HDR_BIT(HDR_CONTENT_TYPE) | HDR_BIT(HDR_DATE) | HDR_BIT(HDR_GRPC_MESSAGE) | HDR_BIT(HDR_GRPC_STATUS) |
        HDR_BIT(HDR_LOCATION) | HDR_BIT(HDR_SERVER) | HDR_BIT(HDR_VIA) | HDR_BIT(HDR_X_ENVOY_ATTEMPT_COUNT) |
        HDR_BIT(HDR_X_ENVOY_DECORATOR_OPERATION) | HDR_BIT(HDR_X_ENVOY_RATELIMITED) | HDR_BIT(HDR_X_REQUEST_ID);
    if (r->headers.repeated & one)
        headers_join_repeated(&r->headers, one);
}

bool http_content_type_is_grpc(struct str content_type)
{
    struct str grpc = STR("application/grpc");
    if (!str_ihas_prefix(content_type, grpc))
        return false;
    return content_type.n == grpc.n || content_type.p[grpc.n] == '+' || content_type.p[grpc.n] == ';';
}

char *http_date(uint64_t wall_us, char text[HTTP_DATE_CAP])
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    /* Not strftime, whose names follow the locale. */
    snprintf(text, HTTP_DATE_CAP, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + tm.tm_wday * 3,
             (unsigned)tm.tm_mday % 100, months + tm.tm_mon * 3, (unsigned)(tm.tm_year + 1900) % 10000,
             (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
    return text;
}

struct str http_date_now(void)
{
    static _Thread_local char text[HTTP_DATE_CAP];
    static _Thread_local uint64_t made_for_s;
    uint64_t now_us = clock_wall_us();
    if (now_us / 1000000 != made_for_s) {
        made_for_s = now_us / 1000000;
        http_date(now_us, text);
    }
    return str_of(text);
}

struct str http_path_only(struct str path)
{
    size_t n = 0;
    while (n < path.n && path.p[n] != '?' && path.p[n] != '#')
        n++;
    return str_n(path.p, n);
}
