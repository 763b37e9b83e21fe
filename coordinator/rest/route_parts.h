// What the parts of the table share: how fields that come again and again are written, and what each part
// adds.
#pragma once

#include <string>
#include <vector>

#include "coordinator/rest/route.h"

namespace roamstead::rest {

Field name_field(std::string name, std::string description, std::string example);
Field profile_field();
Field number_field(std::string name, std::string description, std::uint64_t least, std::uint64_t most);
Field optional(Field field);
Field until_field();
Field flag_field(std::string name, std::string description);
Field quota_field();
Field rules_field();
Field agent_settings_field();

void add_access_routes(std::vector<Route>& all);        // desktops, pools, tokens, assignments, groups
void add_profile_routes(std::vector<Route>& all);       // and sessions
void add_provisioning_routes(std::vector<Route>& all);  // images, provisioned pools, clones
void add_system_routes(std::vector<Route>& all);  // status, repository, audit, administrators, operations

}  // namespace roamstead::rest
