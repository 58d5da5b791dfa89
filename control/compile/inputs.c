/* One pass over the registry, without a view: most changes are none for most groups. Pure. */
#include "control/compile/inputs.h"

#include "control/model/digest.h"

static void fold_services(const struct registry *r, const struct client *client, struct inputs *in)
{
    for (unsigned i = 0; i < r->service_count; i++) {
        const struct service *s = r->services[i];
        if (!export_allows(&s->export_to, client->ns))
            continue;
        uint64_t *endpoints = s->resolution == SERVICE_EDS && !s->is_headless ? &in->endpoints : &in->addresses;
        in->services = digest_fold(in->services, s->digest);
        *endpoints = digest_fold(*endpoints, s->endpoints_digest);
    }
}

static void fold_rules(const struct registry *r, const struct client *client, struct arena *scratch, struct inputs *in)
{
    for (unsigned i = 0; i < r->virtual_service_count; i++) {
        const struct object *o = r->virtual_services[i];
        const ISTIO(VirtualService) *vs = (const ISTIO(VirtualService) *)o->body;
        struct export_to e =
            registry_export(scratch, vs->n_export_to, vs->export_to, r->mesh->n_default_virtual_service_export_to,
                            r->mesh->default_virtual_service_export_to, o->ns);
        /* A delegate is seen through its root. */
        if (vs->n_hosts > 0 && !export_allows(&e, client->ns))
            continue;
        in->rules = digest_fold(in->rules, o->digest);
        if (vs->n_tcp + vs->n_tls > 0)
            in->l4_rules = digest_fold(in->l4_rules, o->digest);
    }
}

static void fold_sources(const struct registry *r, const struct client *client, struct arena *scratch, struct inputs *in)
{
    for (unsigned i = 0; i < r->destination_rule_count; i++) {
        const struct object *o = r->destination_rules[i];
        const ISTIO(DestinationRule) *rule = (const ISTIO(DestinationRule) *)o->body;
        struct export_to e = registry_export(scratch, rule->n_export_to, rule->export_to,
                                             r->mesh->n_default_destination_rule_export_to,
                                             r->mesh->default_destination_rule_export_to, o->ns);
        if (str_eq(o->ns, client->ns) || export_allows(&e, client->ns))
            in->sources = digest_fold(in->sources, o->digest);
    }
}

void inputs_of(const struct registry *registry, const struct client *client, struct inputs *inputs_r)
{
    struct arena *scratch = arena_new(4096);
    *inputs_r = (struct inputs){.settings = registry->settings};
    fold_services(registry, client, inputs_r);
    fold_rules(registry, client, scratch, inputs_r);
    fold_sources(registry, client, scratch, inputs_r);
    arena_free(&scratch);
}
