/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>

#include "kernel/hostsearch.h"
#include "util/text.h"

void hostsearch_add(HostSearch *s, const char *kind, const char *format, ...) {
        char text[sizeof(s->uses->uses[0].text) + 64];
        HostUse use = {};
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        text_append(use.text, sizeof(use.text), "%s", text);
        (void) text_copy(use.kind, sizeof(use.kind), kind);

        for (size_t i = 0; i < s->uses->n; i++)
                if (streq(s->uses->uses[i].text, use.text))
                        return;
        if (s->uses->n == HOST_USES_MAX)
                s->uses->more = true;
        else
                s->uses->uses[s->uses->n++] = use;
}

bool hostsearch_add_node(HostSearch *s, const char *name, dev_t number, mode_t type, bool below) {
        HostNode *node;

        for (size_t i = 0; i < s->n_nodes; i++)
                if (s->nodes[i].number == number && s->nodes[i].type == type)
                        return false;
        if (s->n_nodes == HOSTSEARCH_NODES_MAX) {
                s->incomplete = true;
                return false;
        }
        node = &s->nodes[s->n_nodes];
        *node = (HostNode) { .number = number, .type = type, .below = below };
        if (!text_copy(node->name, sizeof(node->name), name)) {
                s->incomplete = true;
                return false;
        }
        s->n_nodes++;
        return true;
}
