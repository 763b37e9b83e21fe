#include "coordinator/rest/route_parts.h"

namespace roamstead::rest {
namespace {

// What reads specifications and disks that somebody names on the coordinator's host has no route
// (unrouted()).
void add_images(std::vector<Route>& all) {
  const std::string tag = "images";
  all.push_back({"listImages",
                 "GET",
                 "/v1/images",
                 Shape::page,
                 "image.list",
                 "Golden images that were imported",
                 "Image",
                 "images",
                 {"image"},
                 {},
                 {},
                 tag});
  all.push_back({"getImage",
                 "GET",
                 "/v1/images/{image}",
                 Shape::item,
                 "image.list",
                 "One golden image",
                 "Image",
                 "images",
                 {"image"},
                 {},
                 {},
                 tag});
}

void add_provisioned_pools(std::vector<Route>& all) {
  const std::string tag = "provisioned pools";
  all.push_back({"listProvisionedPools",
                 "GET",
                 "/v1/provisioned-pools",
                 Shape::page,
                 "pool.list",
                 "Pools of desktops made from an image",
                 "ProvisionedPool",
                 "pools",
                 {"pool"},
                 {},
                 {},
                 tag});
  all.push_back({"getProvisionedPool",
                 "GET",
                 "/v1/provisioned-pools/{pool}",
                 Shape::item,
                 "pool.list",
                 "One of them",
                 "ProvisionedPool",
                 "pools",
                 {"pool"},
                 {},
                 {},
                 tag});
}

void add_clones(std::vector<Route>& all) {
  const std::string tag = "clones";
  const auto discard =
      flag_field("discard_unsent", "Though a session on it has not sent all that it changed");
  all.push_back({"listClones",
                 "GET",
                 "/v1/clones",
                 Shape::page,
                 "clone.list",
                 "Desktops made from an image",
                 "Clone",
                 "clones",
                 {"clone"},
                 {},
                 {optional(name_field("pool", "Only of this pool", "sales"))},
                 tag,
                 {},
                 {"pool"}});
  all.push_back({"getClone",
                 "GET",
                 "/v1/clones/{clone}",
                 Shape::item,
                 "clone.list",
                 "One of them",
                 "Clone",
                 "clones",
                 {"clone"},
                 {},
                 {},
                 tag});
  all.push_back({"refreshClone",
                 "POST",
                 "/v1/clones/{clone}/refresh",
                 Shape::operation,
                 "clone.refresh",
                 "Set a desktop that is off back to its reference snapshot, with a new identity",
                 "Operation",
                 "",
                 {},
                 {discard},
                 {},
                 tag});
}

}  // namespace

void add_provisioning_routes(std::vector<Route>& all) {
  add_images(all);
  add_provisioned_pools(all);
  add_clones(all);
}

}  // namespace roamstead::rest
