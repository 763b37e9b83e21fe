#include <map>

#include "coordinator/rest/route_parts.h"

namespace roamstead::rest {

const std::vector<Route>& routes() {
  static const std::vector<Route> table = [] {
    std::vector<Route> all;
    add_access_routes(all);
    add_profile_routes(all);
    add_provisioning_routes(all);
    add_system_routes(all);
    return all;
  }();
  return table;
}

const Field& path_field(const std::string& name) {
  static const std::map<std::string, Field> known = [] {
    std::map<std::string, Field> all;
    Field session{"session", Type::text, "A session's id"};
    session.most = 64;
    for (auto field :
         {name_field("desktop", "A desktop's name", "desk-a"), name_field("pool", "A pool's name", "default"),
          name_field("id", "A token's id", "0badcafe"), name_field("group", "A group's name", "everybody"),
          name_field("administrator", "An administrator's name", "ada"),
          name_field("operation", "An operation's id", "0badcafe"),
          name_field("image", "A golden image's name", "win10"),
          name_field("clone", "A clone's name", "SALES-001"), profile_field(), session,
          number_field("version", "A version's number", 1, 0),
          number_field("fork", "A fork's version", 1, 0)})
      all.emplace(field.name, field);
    return all;
  }();
  return known.at(name);
}

std::vector<std::string> path_fields(const std::string& path) {
  std::vector<std::string> names;
  for (auto at = path.find('{'); at != std::string::npos; at = path.find('{', at)) {
    const auto end = path.find('}', at);
    names.push_back(path.substr(at + 1, end - at - 1));
    at = end;
  }
  return names;
}

const std::vector<Unrouted>& unrouted() {
  constexpr const char* kProvisioning = "reads and writes disks of the coordinator's host";
  static const std::vector<Unrouted> list{
      {"profile.import", "reads any directory of the coordinator's host"},
      {"session.extract", "reads any disk of the coordinator's host"},
      {"image.import", kProvisioning},
      {"image.show", "image.list says the same of each"},
      {"image.forget", kProvisioning},
      {"pool.plan", kProvisioning},
      {"pool.create", kProvisioning},
      {"pool.show", "shows a specification, which may name secrets' files"},
      {"pool.delete", kProvisioning},
      {"clone.show", "reads the clone's disk; clone.list says the rest"},
      {"clone.diff", kProvisioning},
      {"clone.delete", kProvisioning},
      {"session.recover-layer", "reads any disk of the coordinator's host"},
      {"desktop.disk", "names a disk of the coordinator's host, to be read later"},
      {"administrator.certify", "a stolen certificate must not be able to make itself another"},
  };
  return list;
}

}  // namespace roamstead::rest
