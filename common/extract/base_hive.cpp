#include "common/extract/base_hive.h"

#include "common/profile/registry.h"

namespace roamstead::extract {

std::string base_hive_path(std::string_view provenance_path, const Guid& session,
                           const profile::ProfilePath& hive) {
  const auto slash = provenance_path.rfind('/');
  std::string path(slash == std::string_view::npos ? std::string_view{}
                                                   : provenance_path.substr(0, slash + 1));
  const bool classes = hive.text().find('/') != std::string::npos;  // NTUSER.DAT lies in the root
  return path + "registry/" + session.to_string() + (classes ? "-classes" : "-user") + ".base";
}

}  // namespace roamstead::extract
