// From a golden image to clones' disks: what is on them is read back by our own reader, by the general way of
// editing, and by other people's programs.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "common/base/sha256.h"
#include "common/base/text.h"
#include "common/registry/check.h"
#include "common/registry/compare.h"
#include "common/registry/value_text.h"
#include "coordinator/compose/template_layer.h"
#include "coordinator/compose/testing/golden_image.h"
#include "tests/support/command.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::compose {
namespace {

using support::must;

constexpr const char* kSpec = R"(
registry = ["desk.reg"]

[pool]
name = "sales"
image = "win10"
clones = "Sales-{n:03}"
first = 8
count = 4
directory = "/srv/desktops"

[network]
addresses = "10.1.0.10-10.1.0.99/24"
gateway = "10.1.0.1"
dns = ["10.1.0.2", "10.1.0.3"]
dns_suffix = "corp.example"

[system]
time_zone = "W. Europe Standard Time"
kms_host = "kms.corp.example:1688"

[services]
Spooler = "disabled"

[profiles]
directory = "D:\\Users"

[[files]]
source = "app.ini"
path = "C:\\ProgramData\\Contoso\\app.ini"

[[scripts]]
source = "10-printers.cmd"
)";

constexpr const char* kReg =
    "Windows Registry Editor Version 5.00\r\n\r\n"
    "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\Contoso]\r\n\"Site\"=\"B\u00e2le\"\r\n\r\n"
    "[HKEY_USERS\\.DEFAULT-USER\\Software\\Contoso]\r\n\"First\"=dword:00000001\r\n";

struct Workshop {
  support::TemporaryDirectory folder;
  os::FileSystem& files = os::real_file_system();
  std::string golden = folder / "golden.vhdx";

  Workshop() {
    std::ofstream(folder / "desk.reg") << kReg;
    std::ofstream(folder / "app.ini") << "[contoso]\nsite=7\n";
    std::ofstream(folder / "10-printers.cmd") << "@echo off\r\n";
  }
  PoolSpec spec(const std::string& text = kSpec) {
    return must(parse_pool_spec(files, text, "sales.toml", folder.path()));
  }
  std::string refusal(const std::string& text) {
    auto parsed = parse_pool_spec(files, text, "sales.toml", folder.path());
    return parsed ? "" : parsed.error().to_string();
  }
};

CloneFacts facts_of(const PoolSpec& spec, std::uint64_t index) {
  CloneFacts facts;
  facts.name = spec.clone_name(index);
  facts.index = index;
  facts.machine_guid = Guid::random();
  facts.desktop_json = "{\"desktop\": \"" + facts.name + "\"}\n";
  facts.identity_pem = std::string(200 + 10 * index, 'k') + "\n";
  return facts;
}

std::string digest_of(const std::string& path) {
  const auto content = must(os::read_file(os::real_file_system(), path, 1u << 30));
  const auto digest = sha256(content);
  return registry::hex_text(digest);
}

std::string file_on(const ntfs::Volume& volume, const std::string& path) {
  const auto record = must(volume.record(must(volume.lookup(path)).record));
  for (const auto& stream : record.streams)
    if (stream.name.empty()) {
      Bytes content(static_cast<std::size_t>(stream.size_bytes));
      must(volume.read(stream, 0, content));
      return std::string(as_text(content));
    }
  return "no content";
}

}  // namespace

TEST_CASE("a pool's specification is checked as a whole") {
  Workshop shop;
  const auto spec = shop.spec();
  CHECK(spec.clone_name(0) == "Sales-008");
  CHECK(spec.clone_name(3) == "Sales-011");
  CHECK(spec.addresses->gateway == 0x0a010001);
  CHECK(spec.services.size() == 1);
  CHECK(spec.registry.size() >= 2);
  CHECK(spec.files.at(0).path == "ProgramData/Contoso/app.ini");

  std::string text = kSpec;
  const auto with = [&](const std::string& from, const std::string& to) {
    auto changed = text;
    changed.replace(changed.find(from), from.size(), to);
    return shop.refusal(changed);
  };
  CHECK(with("time_zone", "timezone").find("did you mean 'time_zone'?") != std::string::npos);
  CHECK(with("time_zone", "timezone").find("sales.toml:19: ") != std::string::npos);
  CHECK(
      shop.refusal(text + "\n[agent.settings]\nFilLevel = \"all\"\nLogLevel = \"much\"\nFreezeCommand = []\n")
          .find("there is no setting 'FilLevel'; did you mean 'FillLevel'?") != std::string::npos);
  CHECK(shop.refusal(text + "\n[agent.settings]\nDrive = \"D:\"\n").find("'Drive' cannot be set from here") !=
        std::string::npos);
  CHECK(with("[services]", "[service]").find("unknown section [service]") != std::string::npos);
  CHECK(with("count = 4", "count = 91").find("90 addresses for 91 desktops") != std::string::npos);
  CHECK(with("count = 4", "count = 0").find("expected a number from 1") != std::string::npos);
  CHECK(with("Sales-{n:03}", "Sales-{n:010}").find("needs one place for the number") != std::string::npos);
  CHECK(with("Sales-{n:03}", "SalesDesktops-{n:03}").find("has 17 characters") != std::string::npos);
  CHECK(with("Sales-{n:03}", "Sales_{n:03}").find("cannot be a computer's name") != std::string::npos);
  CHECK(with("10.1.0.1\"", "10.1.0.20\"").find("two machines would have it") != std::string::npos);
  CHECK(with("10.1.0.1\"", "10.2.0.1\"").find("another network") != std::string::npos);
  CHECK(with("C:\\\\ProgramData", "C:\\\\..").find("cannot be a name on Windows") != std::string::npos);
  CHECK(with("app.ini\"", "none.ini\"").find("none.ini") != std::string::npos);
  CHECK(with("\"disabled\"", "\"off\"").find("is none of boot") != std::string::npos);
  CHECK(with("count = 4", "count = 4 \x06").find("sales.toml:9: a control character") != std::string::npos);
  text.replace(text.find("W. Europe"), 9, "Z\u00fcrich \U0001f600 \u20ac");
  CHECK(shop.spec(text).time_zone == "Z\u00fcrich \U0001f600 \u20ac Standard Time");
  // All that is wrong at once.
  const auto all = shop.refusal("[pool]\nname = \"a b\"\ncount = \"4\"\n");
  CHECK(all.find("cannot be the name of a pool") != std::string::npos);
  CHECK(all.find("pool.count: expected a number") != std::string::npos);
  CHECK(all.find("'pool.clones' is missing") != std::string::npos);
}

TEST_CASE("clones hold what the general way of editing gives, and the image stays as it was") {
  Workshop shop;
  if (!support::available("mkntfs")) return;
  testing::make_golden_image(shop.golden);
  const auto before = digest_of(shop.golden);
  const auto spec = shop.spec();
  const auto image = must(inspect_image(shop.files, shop.golden));
  CHECK(image.build == 19045);
  CHECK(image.control_set == "ControlSet001");
  CHECK(image.agent == "0.1.0");
  CHECK(image.computer_name == "GOLDEN");
  REQUIRE(image.adapters.size() == 1);
  const auto golden = must(WindowsDisk::open(shop.files, shop.golden));
  const auto hives = must(ImageHives::load(golden->volume()));
  const UnitContext context{spec, image, hives, "-----CA-----\n"};
  const auto common = must(common_edits(context));
  const auto sample = must(own_edits(context, facts_of(spec, 0)));
  auto layer = must(make_template(shop.files, image, hives, shop.folder / "template.vhdx", common, sample));
  layer = must(TemplateLayer::parse(layer.to_json(), "template.json"));
  for (std::uint64_t index = 0; index < spec.count; ++index) {
    const auto facts = facts_of(spec, index);
    const auto own = must(own_edits(context, facts));
    const auto path = shop.folder / (facts.name + ".vhdx");
    must(make_clone_disk(shop.files, layer, path, own));
    const auto clone = must(WindowsDisk::open(shop.files, path));
    const auto written = must(ImageHives::load(clone->volume()));  // checks every hive
    for (auto id : kHives) {
      INFO("clone ", facts.name, ", ", to_string(id));
      auto general = must(registry::Editor::open(hives.file(id).file, "general"));
      must(apply_edits(general, id, common.registry));
      for (const auto& value : own.values) must(apply_edits(general, id, {value.edit}));
      int differences = 0;
      registry::compare(
          general.hive(), written.hive(id),
          [&](const registry::Difference& difference) {
            MESSAGE(registry::to_string(difference.kind), " ", difference.path);
            return ++differences < 10;
          },
          [](const registry::Defect& defect) { FAIL(defect.to_string()); });
      CHECK(differences == 0);
      CHECK(!written.file(id).was_dirty);
    }
    CHECK(
        written.text(HiveId::system, "ControlSet001\\Control\\ComputerName\\ComputerName", "ComputerName") ==
        "SALES-0" + std::to_string(8 + index).insert(0, index < 2 ? "0" : ""));
    CHECK(file_on(clone->volume(), "ProgramData/Contoso/app.ini") == "[contoso]\nsite=7\n");
    CHECK(file_on(clone->volume(), "ProgramData/Roamstead/identity/ca.pem") == "-----CA-----\n");
    auto identity = file_on(clone->volume(), "ProgramData/Roamstead/identity/identity.pem");
    CHECK(identity.size() == 4096);
    identity.erase(identity.find_last_not_of('\n') + 2);
    CHECK(identity == facts.identity_pem);
    CHECK(file_on(clone->volume(), "Windows/System32/config/SYSTEM.LOG1").empty());
  }
  CHECK(digest_of(shop.golden) == before);

  // Other people's eyes.
  const auto clone = shop.folder / "Sales-009.vhdx";
  const auto raw = shop.folder / "clone.raw";
  const auto volume = shop.folder / "volume.ntfs";
  {
    const auto disk = must(WindowsDisk::open(shop.files, clone));
    Bytes all(static_cast<std::size_t>(disk->place().size_bytes));
    must(disk->device().read(0, all));
    std::ofstream(volume, std::ios::binary)
        .write(reinterpret_cast<const char*>(all.data()), static_cast<std::streamsize>(all.size()));
    if (support::available("7zz")) {
      CHECK(support::run("cd " + shop.folder.path() + " && 7zz e -so -tvhdx Sales-009.vhdx > " + raw +
                         " 2>/dev/null"));
      CHECK(support::run_quietly("tail -c +" + std::to_string(disk->place().offset_bytes + 1) + " " + raw +
                                 " | head -c " + std::to_string(all.size()) + " | cmp - " + volume));
    }
  }
  if (support::available("ntfsfix")) CHECK(support::run_quietly("ntfsfix -n " + volume));
  if (support::available("ntfs-3g.probe")) CHECK(support::run_quietly("ntfs-3g.probe --readwrite " + volume));
  if (support::available("fls"))
    CHECK(support::run_quietly("fls -r -p " + volume +
                               " | grep -q 'ProgramData/Roamstead/identity/identity.pem$'"));
  if (support::available("ntfscat") && support::available("hivexget")) {
    CHECK(
        support::run("ntfscat " + volume + " Windows/System32/config/SYSTEM > " + (shop.folder / "SYSTEM")));
    CHECK(support::run_quietly("test \"$(hivexget " + (shop.folder / "SYSTEM") +
                               " 'ControlSet001\\Services\\Tcpip\\Parameters' 'NV Hostname')\" = Sales-009"));
  }
}

TEST_CASE("golden images of which no desktop can be made are refused by name") {
  Workshop shop;
  if (!support::available("mkntfs")) return;
  testing::GoldenOptions options;
  const auto refusal = [&](std::vector<RegistryEdit> edits) {
    options.edits = std::move(edits);
    std::filesystem::remove(shop.golden);
    testing::make_golden_image(shop.golden, options);
    const auto image = inspect_image(shop.files, shop.golden);
    return image ? "" : image.error().to_string();
  };
  CHECK(refusal({}).empty());
  CHECK(refusal({set_number(HiveId::system, "Select", "Default", 2)}).find("two control sets") !=
        std::string::npos);
  CHECK(refusal({set_number(HiveId::system, "Select", "Current", 7)}).find("two control sets") !=
        std::string::npos);
  CHECK(refusal({set_number(HiveId::system, "Select", "Current", 7),
                 set_number(HiveId::system, "Select", "Default", 7)})
            .find("which is not there") != std::string::npos);
  CHECK(refusal({set_number(HiveId::system, "Setup", "SystemSetupInProgress", 1)}).find("setup") !=
        std::string::npos);
  must(vdisk::create_disk(shop.files, shop.folder / "empty.vhdx", 64u << 20));
  const auto empty = inspect_image(shop.files, shop.folder / "empty.vhdx");
  REQUIRE(!empty);
  CHECK(empty.error().to_string().find("is Windows installed on this disk?") != std::string::npos);
}

}  // namespace roamstead::compose
