// A site that makes desktops too: a golden image, imported, and a specification to vary.
#pragma once

#include "coordinator/compose/testing/golden_image.h"
#include "coordinator/server/testing/site.h"
#include "tests/support/must.h"

namespace roamstead::server {

struct PoolSite : Site {
  std::unique_ptr<Coordinator> coordinator;

  explicit PoolSite(const std::string& format = "vhdx") {
    compose::testing::make_golden_image(golden(format));
    coordinator = start();
    must({{"command", "image.import"}, {"image", "golden"}, {"disk", golden(format)}});
  }
  std::string golden(const std::string& format) const { return folder / "golden." + format; }
  std::string disk(const std::string& name) const { return folder / "disks/" + name; }
  // `more` follows the keys of [pool].
  nlohmann::json request(const std::string& command, const std::string& more, int count = 3) const {
    return {{"command", command},
            {"specification",
             "[pool]\nname = \"sales\"\nimage = \"golden\"\nclones = \"SALES-{n:02}\"\n"
             "directory = \"" +
                 (folder / "disks") + "\"\ncount = " + std::to_string(count) + "\n" + more},
            {"source", "sales.toml"},
            {"directory", folder.path()}};
  }
  nlohmann::json must(const nlohmann::json& request) {
    return support::must(coordinator->execute(request, {}));
  }
  Error refusal(const nlohmann::json& request) {
    auto answer = coordinator->execute(request, {});
    if (answer) throw std::runtime_error("not refused: " + answer->dump());
    return answer.error();
  }
  nlohmann::json of_clone(const std::string& command, const std::string& clone) {
    return {{"command", command}, {"clone", clone}};
  }
  Site& site() { return *this; }
};

}  // namespace roamstead::server
