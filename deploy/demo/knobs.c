/* Plain values and their JSON. */
#include "deploy/demo/knobs.h"

#include <jansson.h>
#include <string.h>

#define DELAY_MAX_MS 600000

static bool update_ms(unsigned *to, const char *key, const json_t *value, struct err *err)
{
    json_int_t ms = json_integer_value(value);
    if (!json_is_integer(value) || ms < 0 || ms > DELAY_MAX_MS)
        return err_set(err, "%s: must be a whole number from 0 to %d", key, DELAY_MAX_MS);
    *to = (unsigned)ms;
    return true;
}

static bool update_one(struct knobs *k, const char *key, const json_t *value, struct err *err)
{
    if (strcmp(key, "latency_ms") == 0)
        return update_ms(&k->latency_ms, key, value, err);
    if (strcmp(key, "jitter_ms") == 0)
        return update_ms(&k->jitter_ms, key, value, err);
    if (strcmp(key, "error_rate") == 0) {
        double rate = json_number_value(value);
        if (!json_is_number(value) || !(rate >= 0 && rate <= 1))
            return err_set(err, "error_rate: must be a number from 0 to 1");
        k->error_rate = rate;
        return true;
    }
    if (strcmp(key, "hang") == 0) {
        if (!json_is_boolean(value))
            return err_set(err, "hang: must be true or false");
        k->hang = json_is_true(value);
        return true;
    }
    return err_set(err, "%s: no such knob; there are latency_ms, jitter_ms, error_rate, hang", key);
}

bool knobs_update(struct knobs *k, struct str json, struct err *err)
{
    json_error_t where;
    json_t *root = json_loadb(json.p ? json.p : "", json.n, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(err, "must be a JSON object%s%s", root ? "" : ": ", root ? "" : where.text);
    }
    struct knobs changed = *k;
    const char *key;
    json_t *value;
    bool ok = true;
    json_object_foreach(root, key, value) ok = ok && update_one(&changed, key, value, err);
    json_decref(root);
    if (ok)
        *k = changed;
    return ok;
}

void knobs_print(const struct knobs *k, struct buf *out)
{
    buf_printf(out, "{\"latency_ms\": %u, \"jitter_ms\": %u, \"error_rate\": %g, \"hang\": %s}", k->latency_ms,
               k->jitter_ms, k->error_rate, k->hang ? "true" : "false");
}

uint64_t knobs_delay_ms(const struct knobs *k, struct rng *rng)
{
    return k->latency_ms + rng_below(rng, (uint64_t)k->jitter_ms + 1);
}

bool knobs_fails(const struct knobs *k, struct rng *rng)
{
    return (double)rng_below(rng, UINT64_C(1) << 32) < k->error_rate * 4294967296.0;
}
