// Pools whose desktops join a domain with blobs that somebody else made: by all three routes, without a
// domain.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "common/ntfs/security_text.h"
#include "coordinator/compose/testing/pool_site.h"
#include "coordinator/join/routes.h"
#include "coordinator/join/testing_blob.h"
#include "tests/support/command.h"

namespace roamstead::compose {
namespace {

using support::must;
using testing::file_of_disk;
using testing::generalised_state;
using testing::PoolSite;

join::OdjBlob blob_for(const std::string& machine) {
  auto blob = join::testing::sample_blob();
  blob.membership.machine_name = machine;
  blob.membership.machine_password = join::random_machine_password();
  return blob;
}

// Blobs of these machines in a folder of the site; their specification.
class BlobFolder {
 public:
  explicit BlobFolder(const PoolSite& site) : path_(site.folder() / "blobs") {
    std::filesystem::create_directory(path_);
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all);
    for (int number = 1; number <= 3; ++number) {
      const auto machine = "VDI-000" + std::to_string(number);
      put(machine, blob_for(machine));
    }
  }
  void put(const std::string& machine, const join::OdjBlob& blob) {
    blobs_.insert_or_assign(machine, blob);
    const auto file = must(join::write_odj_file(blob));
    std::ofstream(path_ + "/" + machine + ".txt", std::ios::binary)
        .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  }
  std::string spec(const std::string& method) const {
    return "[join]\nmethod = \"" + method + "\"\nblobs = \"" + path_ + "\"\n";
  }
  const join::OdjBlob& operator[](const std::string& machine) const { return blobs_.at(machine); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::map<std::string, join::OdjBlob> blobs_;
};

// Whom a file or folder of a disk names in its access list, and the list.
std::string access_of(const std::string& disk, const std::string& path) {
  const auto opened = must(WindowsDisk::open(os::real_file_system(), disk));
  const auto record = must(opened->volume().record(must(opened->volume().lookup(path)).record));
  return must(ntfs::describe_security(must(opened->volume().security_descriptor(record.security_id)))).sddl;
}
// SYSTEM and Administrators, and nothing that is inherited.
void check_closed(const std::string& disk, const std::string& path) {
  const auto sddl = access_of(disk, path);
  const auto list = sddl.substr(sddl.find("D:"));
  CAPTURE(sddl);
  CHECK(list.rfind("D:P", 0) == 0);
  CHECK(std::count(list.begin(), list.end(), '(') == 2);
  CHECK(list.find(";;;S-1-5-18)") != std::string::npos);
  CHECK(list.find(";;;S-1-5-32-544)") != std::string::npos);
}

std::string problems_of(const Result<PoolPlan>& plan) { return plan ? "" : plan.error().to_string(); }

}  // namespace

TEST_CASE("direct: a blob's password is the desktop's own") {
  if (!support::available("mkntfs")) return;
  PoolSite site;
  BlobFolder blobs(site);
  auto shorter = blob_for("VDI-0002");  // as those that other programs draw
  shorter.membership.machine_password = must(join::secret_utf16("a short one"));
  blobs.put("VDI-0002", shorter);
  const auto text = site.spec_text(blobs.spec("direct"));
  CHECK(must(site.plan(text)).boots == 1);
  CHECK(must(site.create(text)).made == 3);
  for (const auto* machine : {"VDI-0001", "VDI-0002", "VDI-0003"}) {
    const auto disk = must(WindowsDisk::open(os::real_file_system(), site.disk(machine)));
    const auto hives = must(ImageHives::load(disk->volume()));
    CHECK(must(join::machine_password(hives.hive(HiveId::system), hives.hive(HiveId::security))) ==
          blobs[machine].membership.machine_password);
  }
  CHECK(must(site.store().clone("VDI-0001")).account.empty());  // not ours to delete
}

TEST_CASE("unattend: Setup of a generalised image finds name and blob, and removes them") {
  if (!support::available("mkntfs")) return;
  testing::GoldenOptions options;
  options.edits = {generalised_state()};
  PoolSite site(options);
  BlobFolder blobs(site);
  auto longer = blob_for("VDI-0003");
  longer.parts.push_back({longer.parts[0].type, 1, join::SecretBytes(9000, std::byte{5})});
  blobs.put("VDI-0003", longer);
  const auto text = site.spec_text(blobs.spec("unattend"));
  const auto plan = must(site.plan(text));
  CHECK(plan.boots == 2);
  for (const auto& file : plan.own.files)
    if (file.edit.path == join::kUnattendPath) CHECK(file.edit.secret);
  CHECK(must(site.create(text)).made == 3);
  for (const auto* machine : {"VDI-0001", "VDI-0002", "VDI-0003"}) {
    const auto answers = file_of_disk(site.disk(machine), join::kUnattendPath);
    CHECK(answers.find("<ComputerName>" + std::string(machine) + "</ComputerName>") != std::string::npos);
    const std::string open = "<AccountData>";
    const auto begin = answers.find(open) + open.size();
    const auto data = answers.substr(begin, answers.find("</AccountData>") - begin);
    CHECK(join::testing::equal(must(join::parse_odj_text(as_bytes(data))), blobs[machine]));
    check_closed(site.disk(machine), join::kUnattendPath);
    CHECK(file_of_disk(site.disk(machine), join::kSetupCompletePath).find("del /f /q") != std::string::npos);
  }
}

TEST_CASE("runonce: the first step of the first start gives the blob to djoin") {
  if (!support::available("mkntfs")) return;
  PoolSite site;
  BlobFolder blobs(site);
  std::ofstream(site.folder() / "10-after.cmd") << "@echo off\r\n";
  const auto text = site.spec_text(blobs.spec("runonce") + "[[scripts]]\nsource = \"10-after.cmd\"\n");
  CHECK(must(site.plan(text)).boots == 2);
  CHECK(must(site.create(text)).made == 3);
  const std::string folder = "ProgramData/Roamstead/firstboot/";
  const auto check = [&](const std::string& machine) {
    const auto disk = site.disk(machine);
    const auto file = file_of_disk(disk, folder + join::kRunonceBlobName);
    CHECK(join::testing::equal(must(join::parse_odj_text(as_bytes(file))), blobs[machine]));
    CHECK(file_of_disk(disk, folder + "scripts/" + join::kRunonceScriptName) == join::runonce_join_script());
    for (const char* closed : {"ProgramData/Roamstead/firstboot", "ProgramData/Roamstead/firstboot/scripts",
                               "ProgramData/Roamstead/firstboot/domain-join.txt"})
      check_closed(disk, closed);
    const auto steps = file_of_disk(disk, folder + "steps.json");
    CHECK(steps.find(join::kRunonceScriptName) < steps.find("10-after.cmd"));
  };
  for (const auto* machine : {"VDI-0001", "VDI-0002", "VDI-0003"}) check(machine);
  // A desktop that was set back joins again, with the same account.
  const auto spec = must(parse_made_pool_spec(text, "pool desks"));
  const auto running = must(site.store().jobs().begin_clone("desks", "VDI-0002", "clone refresh"));
  must(site.job().refresh_clone(running, spec, must(site.store().clone("VDI-0002"))));
  check("VDI-0002");
}

TEST_CASE("blobs are judged as a whole, and all that is wrong is told") {
  if (!support::available("mkntfs")) return;
  PoolSite site;
  BlobFolder blobs(site);
  auto other = blob_for("VDI-0002");
  other.membership.domain.guid = Guid::random();
  other.membership.domain.dns_name = "other.test";
  blobs.put("VDI-0002", other);
  std::filesystem::remove(blobs.path() + "/VDI-0003.txt");
  const auto text = site.spec_text(blobs.spec("runonce"), 5);
  std::ofstream(blobs.path() + "/VDI-0005.txt") << "!";
  blobs.put("VDI-0004", blob_for("VDI-9999"));
  const auto problems = problems_of(site.plan(text));
  CHECK(problems.find("VDI-0002.txt is for the domain other.test") != std::string::npos);
  CHECK(problems.find("VDI-0003.txt is missing") != std::string::npos);
  CHECK(problems.find("VDI-0004.txt is for VDI-9999, not VDI-0004") != std::string::npos);
  CHECK(problems.find("VDI-0005.txt") != std::string::npos);
  CHECK(problems.find("VDI-0001") == std::string::npos);
  CHECK(!std::filesystem::exists(site.disks()));
  std::filesystem::permissions(blobs.path(), std::filesystem::perms::all);
  for (int number = 2; number <= 5; ++number)
    blobs.put("VDI-000" + std::to_string(number), blob_for("VDI-000" + std::to_string(number)));
  const auto plan = must(site.plan(text));
  CHECK(plan.warnings.back().find("can be read by everybody") != std::string::npos);
}

TEST_CASE("a route that does not fit the image is refused before anything is written") {
  if (!support::available("mkntfs")) return;
  {
    PoolSite site;
    BlobFolder blobs(site);
    CHECK(problems_of(site.plan(site.spec_text(blobs.spec("unattend")))).find("was not generalised") !=
          std::string::npos);
    CHECK(!site.parse(site.spec_text("[join]\nmethod = \"by magic\"\n")));
    CHECK(!site.parse(site.spec_text("[join]\nmethod = \"runonce\"\n")));
    CHECK(site.parse(site.spec_text(blobs.spec("direct") + "controller = \"ldaps://dc1\"\n"))
              .error()
              .to_string()
              .find("join.controller: goes without 'blobs'") != std::string::npos);
  }
  testing::GoldenOptions options;
  options.edits = {generalised_state()};
  options.files = {{"Windows/Panther/unattend.xml", "<unattend/>"}};
  PoolSite site(options);
  BlobFolder blobs(site);
  CHECK(problems_of(site.plan(site.spec_text(blobs.spec("direct")))).find("was generalised") !=
        std::string::npos);
  CHECK(problems_of(site.plan(site.spec_text(blobs.spec("unattend")))).find("an answer file of its own") !=
        std::string::npos);
  const auto plan = must(site.plan(site.spec_text("")));
  CHECK(plan.warnings.back().find("Setup names the desktops") != std::string::npos);
}

}  // namespace roamstead::compose
