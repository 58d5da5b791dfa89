/* One table "ns/name" -> address and one address -> owner. On the control plane's loop; the file belongs to it alone. */
#include "control/registry/vips.h"

#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/base/hash.h"
#include "sidecar/base/table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vip {
    uint32_t address; /* host order */
    char text[INET_ADDRSTRLEN];
    char *name; /* NULL: reserved by an explicit address */
};

struct vips {
    uint32_t base, size;
    char *path;
    struct table by_name, by_address;
    bool is_changed;
};

static bool parse_range(const char *cidr, uint32_t *base_r, uint32_t *size_r)
{
    struct in_addr in;
    const char *slash = strchr(cidr, '/');
    uint64_t bits;
    char text[INET_ADDRSTRLEN];
    if (!slash || (size_t)(slash - cidr) >= sizeof(text) || !str_to_u64(str_of(slash + 1), &bits) || bits < 8 || bits > 30)
        return false;
    memcpy(text, cidr, (size_t)(slash - cidr));
    text[slash - cidr] = '\0';
    if (inet_pton(AF_INET, text, &in) != 1)
        return false;
    *size_r = 1u << (32 - bits);
    *base_r = ntohl(in.s_addr) & ~(*size_r - 1);
    return true;
}

static struct vip *take(struct vips *v, uint32_t address, struct str name)
{
    struct vip *vip = NEW(struct vip);
    struct in_addr in = {htonl(address)};
    vip->address = address;
    inet_ntop(AF_INET, &in, vip->text, sizeof(vip->text));
    vip->name = name.n > 0 ? xmemdup0(name.p, name.n) : NULL;
    table_put(&v->by_address, str_of(vip->text), vip);
    if (vip->name)
        table_put(&v->by_name, name, vip);
    return vip;
}

static bool load(struct vips *v, struct err *err)
{
    json_error_t fault;
    json_t *root = access(v->path, F_OK) == 0 ? json_load_file(v->path, JSON_REJECT_DUPLICATES, &fault) : json_object();
    const char *name;
    json_t *value;
    if (!root)
        return err_set(err, "%s:%d: %s; repair or remove the file", v->path, fault.line, fault.text);
    json_object_foreach(root, name, value)
    {
        struct in_addr in;
        if (!json_is_string(value) || inet_pton(AF_INET, json_string_value(value), &in) != 1) {
            err_set(err, "%s: %s: must be an IPv4 address; repair or remove the file", v->path, name);
            json_decref(root);
            return false;
        }
        uint32_t address = ntohl(in.s_addr);
        /* Of another range, or twice: given anew. */
        if (address - v->base < v->size && !table_get(&v->by_address, str_of(json_string_value(value))))
            take(v, address, str_of(name));
        else
            v->is_changed = true;
    }
    json_decref(root);
    return true;
}

struct vips *vips_open(const char *cidr, const char *path, struct err *err)
{
    struct vips *v = NEW(struct vips);
    if (!parse_range(cidr, &v->base, &v->size)) {
        err_set(err, "--service-cidr: must be an IPv4 range of /8 to /30, got %s", cidr);
        vips_free(&v);
        return NULL;
    }
    v->path = path ? xstrdup(path) : NULL;
    if (path && !load(v, err))
        vips_free(&v);
    return v;
}

void vips_free(struct vips **vips)
{
    struct vips *v = *vips;
    if (!v)
        return;
    *vips = NULL;
    struct str key;
    void *value;
    for (size_t i = 0; table_next(&v->by_address, &i, &key, &value);) {
        struct vip *vip = value;
        free(vip->name);
        free(vip);
    }
    table_fini(&v->by_name);
    table_fini(&v->by_address);
    free(v->path);
    free(v);
}

static bool is_free(const struct vips *v, uint32_t address)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr in = {htonl(address)};
    inet_ntop(AF_INET, &in, text, sizeof(text));
    return !table_get(&v->by_address, str_of(text));
}

struct str vips_get(struct vips *v, struct str ns, struct str name)
{
    char key[512];
    int n = snprintf(key, sizeof(key), "%.*s/%.*s", STR_FMT(ns), STR_FMT(name));
    assert(n > 0 && (size_t)n < sizeof(key));
    struct vip *vip = table_get(&v->by_name, str_n(key, (size_t)n));
    if (vip)
        return str_of(vip->text);
    /* Neither the network's own address nor the broadcast. */
    uint32_t usable = v->size - 2, first = (uint32_t)(hash_xx64(key, (size_t)n, 0) % usable);
    for (uint32_t i = 0; i < usable; i++) {
        uint32_t address = v->base + 1 + (first + i) % usable;
        if (!is_free(v, address))
            continue;
        v->is_changed = true;
        return str_of(take(v, address, str_n(key, (size_t)n))->text);
    }
    return STR("");
}

void vips_reserve(struct vips *v, struct str address)
{
    struct in_addr in;
    char text[INET_ADDRSTRLEN];
    if (address.n >= sizeof(text))
        return;
    memcpy(text, address.p, address.n);
    text[address.n] = '\0';
    if (inet_pton(AF_INET, text, &in) != 1 || ntohl(in.s_addr) - v->base >= v->size)
        return;
    struct vip *holder = table_get(&v->by_address, str_of(text));
    if (!holder) {
        take(v, ntohl(in.s_addr), STR_NONE);
    } else if (holder->name) {
        /* What was given out yields to what is written down. */
        table_remove(&v->by_name, str_of(holder->name));
        free(holder->name);
        holder->name = NULL;
        v->is_changed = true;
    }
}

static int write_file(const char *path, const char *text)
{
    char *temporary = xasprintf("%s.tmp", path);
    FILE *f = fopen(temporary, "we");
    int result = f ? 0 : -errno;
    if (f && (fputs(text, f) < 0 || fflush(f) != 0 || fsync(fileno(f)) != 0))
        result = -errno;
    if (f && fclose(f) != 0 && result == 0)
        result = -errno;
    if (result == 0 && rename(temporary, path) != 0)
        result = -errno;
    free(temporary);
    return result;
}

int vips_save(struct vips *v)
{
    if (!v->is_changed || !v->path)
        return 0;
    json_t *root = json_object();
    struct str key;
    void *value;
    for (size_t i = 0; table_next(&v->by_name, &i, &key, &value);) {
        const struct vip *vip = value;
        json_object_set_new(root, vip->name, json_string(vip->text));
    }
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS);
    int result = write_file(v->path, text);
    free(text);
    json_decref(root);
    if (result == 0)
        v->is_changed = false;
    return result;
}
