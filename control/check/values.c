/* The path of a check, its findings, and the checks of plain values. No state but the struct check on the caller's stack. */
#include "control/check/check_priv.h"
#include "control/model/host.h"
#include "sidecar/match/regex.h"
#include "sidecar/net/addr.h"

#include <stdio.h>
#include <string.h>

#define DURATION_MAX_S 315576000000 /* what protobuf allows: ten thousand years */

size_t path_push(struct check *c, const char *fmt, ...)
{
    size_t mark = c->path_n;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(c->path + mark, sizeof(c->path) - mark, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    /* A map key may be long: the path is cut, never wrong in front. */
    c->path_n = mark + (size_t)n < sizeof(c->path) ? mark + (size_t)n : sizeof(c->path) - 1;
    return mark;
}

void path_pop(struct check *c, size_t mark)
{
    assert(mark <= c->path_n);
    c->path_n = mark;
    c->path[mark] = '\0';
}

const struct node *check_node(const struct check *c, const char *leaf)
{
    if (!c->object->document)
        return NULL;
    char path[sizeof(c->path) + 64];
    snprintf(path, sizeof(path), "%s%s", c->path, leaf);
    return node_at_path(c->object->document, path);
}

void check_add(struct check *c, enum finding_level level, unsigned code, const char *leaf, const char *fix,
               const char *fmt, ...)
{
    char message[512], path[sizeof(c->path) + 64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    snprintf(path, sizeof(path), "%s%s", c->path, leaf);
    const struct node *at = check_node(c, leaf);
    findings_add(c->findings, &(struct finding){
                                  .level = level,
                                  .code = code,
                                  .file = c->object->file.p ? c->object->file.p : "",
                                  .line = at ? node_line(at) : 0,
                                  .column = at ? node_column(at) : 0,
                                  .object = c->object->id,
                                  .path = str_of(path),
                                  .message = str_of(message),
                                  .fix = str_of(fix),
                              });
    if (level == FINDING_ERROR)
        c->errors++;
}

void check_not_built(struct check *c, const char *leaf, const char *reason)
{
    check_error(c, OG_NOT_BUILT, leaf, "remove the field", "is not supported: %s", reason);
}

void check_host(struct check *c, const char *leaf, const char *host)
{
    struct addr addr;
    struct cidr cidr;
    struct str text = str_of(host);
    if (text.n == 0)
        check_error(c, OG_MISSING_FIELD, leaf, "", "must not be empty");
    else if (!host_is_valid(text) && !addr_from_ip(text, 0, &addr) && !cidr_parse(text, &cidr))
        check_error(c, OG_BAD_VALUE, leaf, "letters, digits, dashes and dots", "is no host name, got \"%s\"", host);
}

void check_port(struct check *c, const char *leaf, uint32_t port)
{
    if (port < 1 || port > 65535)
        check_error(c, OG_BAD_VALUE, leaf, "", "must be in 1..65535, got %u", port);
}

void check_duration(struct check *c, const char *leaf, const Google__Protobuf__Duration *d, uint64_t min_ms)
{
    if (!d)
        return;
    bool is_negative = d->seconds < 0 || d->nanos < 0;
    if (is_negative || d->seconds > DURATION_MAX_S) {
        check_error(c, OG_BAD_VALUE, leaf, "", "must be %s, got %llds", is_negative ? "0s or longer" : "shorter",
                    (long long)d->seconds);
        return;
    }
    bool is_zero = d->seconds == 0 && d->nanos == 0;
    uint64_t ms = (uint64_t)d->seconds * 1000 + (uint64_t)d->nanos / 1000000;
    if (is_zero ? min_ms > 0 : ms < 1)
        check_error(c, OG_BAD_VALUE, leaf, "", "must be 1ms or longer");
    else if (ms < min_ms)
        check_error(c, OG_BAD_VALUE, leaf, "", "must be %llums or longer, got %llums", (unsigned long long)min_ms,
                    (unsigned long long)ms);
    else if (d->nanos % 1000000 != 0)
        check_error(c, OG_BAD_VALUE, leaf, "round it", "must be of whole milliseconds");
}

void check_not_negative(struct check *c, const char *leaf, int64_t value)
{
    if (value < 0)
        check_error(c, OG_BAD_VALUE, leaf, "", "must not be negative, got %lld", (long long)value);
}

void check_percent(struct check *c, const char *leaf, double value)
{
    if (!(value >= 0 && value <= 100))
        check_error(c, OG_BAD_VALUE, leaf, "", "must be in 0..100, got %g", value);
}

void check_regex(struct check *c, const char *leaf, const char *pattern)
{
    struct err err = {0};
    struct regex *regex = regex_new(str_of(pattern), &err);
    if (!regex)
        check_error(c, OG_BAD_VALUE, leaf, "the syntax is RE2's", "is no regular expression: %s", err.text);
    regex_free(&regex);
}

void check_export_to(struct check *c, size_t count, char *const *v)
{
    bool has_all = false;
    for (size_t i = 0; i < count; i++) {
        size_t mark = path_push(c, ".exportTo[%zu]", i);
        struct str ns = str_of(v[i]);
        has_all = has_all || str_eq_c(ns, "*");
        if (str_eq_c(ns, "~") && count > 1)
            check_error(c, OG_BAD_VALUE, "", "", "\"~\" (nobody) stands alone, got %zu entries", count);
        else if (!str_eq_c(ns, "*") && !str_eq_c(ns, ".") && !str_eq_c(ns, "~") && !host_is_dns_name(ns))
            check_error(c, OG_BAD_VALUE, "", "", "must be \"*\", \".\", \"~\" or a namespace, got \"%s\"", v[i]);
        path_pop(c, mark);
    }
    if (has_all && count > 1)
        check_error(c, OG_BAD_VALUE, ".exportTo", "", "\"*\" (everybody) stands alone, got %zu entries", count);
}

void check_cidr(struct check *c, const char *leaf, const char *text)
{
    struct addr addr;
    struct cidr cidr;
    if (!addr_from_ip(str_of(text), 0, &addr) && !cidr_parse(str_of(text), &cidr))
        check_error(c, OG_BAD_VALUE, leaf, "", "must be an address or a range such as 10.0.0.0/8, got \"%s\"", text);
}
