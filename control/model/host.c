/* Pure functions over host names; nothing is kept. */
#include "control/model/host.h"

#include "sidecar/base/die.h"

#include <ctype.h>

struct str host_fqdn(struct arena *arena, struct str host, struct str ns, struct str domain)
{
    if (host.n == 0 || str_eq_c(host, "*") || str_index(host, '.', 0) >= 0)
        return host;
    return arena_printf(arena, "%.*s.%.*s.svc.%.*s", STR_FMT(host), STR_FMT(ns), STR_FMT(domain));
}

bool host_is_wildcard(struct str host)
{
    return host.n > 0 && host.p[0] == '*';
}

bool host_covers(struct str pattern, struct str name)
{
    if (!host_is_wildcard(pattern))
        return str_ieq(pattern, name);
    struct str tail = str_sub(pattern, 1, pattern.n);
    if (host_is_wildcard(name)) {
        struct str name_tail = str_sub(name, 1, name.n);
        return name_tail.n >= tail.n && str_has_suffix(name_tail, tail);
    }
    /* The star stands for at least one byte: "*.example.com" is not "example.com". */
    return name.n > tail.n && str_has_suffix(name, tail);
}

static bool is_label(struct str label)
{
    if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++) {
        unsigned char c = (unsigned char)label.p[i];
        if (!isalnum(c) && c != '-' && c != '_')
            return false;
    }
    return true;
}

bool host_is_dns_name(struct str name)
{
    if (name.n == 0 || name.n > 253 || name.p[name.n - 1] == '.')
        return false;
    struct str rest = name, label;
    while (str_next(&rest, '.', &label)) {
        if (!is_label(label))
            return false;
    }
    return true;
}

bool host_is_valid(struct str host)
{
    if (!host_is_wildcard(host))
        return host_is_dns_name(host);
    if (host.n == 1)
        return true;
    struct str tail = str_sub(host, 1, host.n);
    if (tail.p[0] == '.' || tail.p[0] == '-')
        tail = str_sub(tail, 1, tail.n);
    return host_is_dns_name(tail);
}
