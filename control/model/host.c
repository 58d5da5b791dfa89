/* Pure functions over host names; nothing is kept. */
#include "control/model/host.h"

#include "sidecar/base/die.h"

#include <ctype.h>
#include <string.h>

struct str host_fqdn(struct arena *arena, struct str host, struct str ns, struct str domain)
{
    if (host.n == 0 || str_eq_c(host, "*") || str_index(host, '.', 0) >= 0)
        return host;
    /* Asked for often: without printf. */
    const struct str parts[] = {host, STR("."), ns, STR(".svc."), domain};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        n += parts[i].n;
    char *text = arena_alloc(arena, n + 1), *end = text;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].n > 0)
            memcpy(end, parts[i].p, parts[i].n);
        end += parts[i].n;
    }
    *end = '\0';
    return str_n(text, n);
}

struct str host_key(struct arena *arena, struct str host)
{
    size_t i = 0;
    while (i < host.n && !(host.p[i] >= 'A' && host.p[i] <= 'Z'))
        i++;
    if (i == host.n)
        return host;
    char *text = arena_alloc(arena, host.n + 1);
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    ascii_lower_n(text, host.n);
    return str_n(text, host.n);
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
