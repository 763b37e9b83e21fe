// User data disks and the pools they belong to: made, lettered, kept, used again, deleted, undone; what is
// placed for the first start.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "common/base/text.h"
#include "common/vdisk/disk.h"
#include "coordinator/compose/first_boot.h"
#include "coordinator/compose/pool_job.h"
#include "coordinator/compose/testing/golden_image.h"
#include "tests/support/command.h"
#include "tests/support/must.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::compose {
namespace {

using support::must;

struct Farm {
  support::TemporaryDirectory folder;
  os::FileSystem& files = os::real_file_system();
  std::unique_ptr<PoolStore> store;
  IdentityPort identity;
  std::string refused;  // whose enrolment fails
  const std::string golden = folder / "golden.vhdx";

  explicit Farm(bool has_agent = true) {
    testing::GoldenOptions options;
    options.has_agent = has_agent;
    testing::make_golden_image(golden, options);
    store = must(PoolStore::open(folder.path()));
    const auto info = must(vdisk::inspect(files, golden));
    must(store->put_image({"win10", golden, "{}", info.id, must(files.modified_seconds(golden)), 1}));
    identity.issue = [](const std::string& desktop) -> Result<IdentityPort::Identity> {
      return IdentityPort::Identity{"key\n", "certificate of " + desktop + "\n", "1"};
    };
    identity.enrol = [this](const std::string& desktop, const std::string&) -> Result<void> {
      if (desktop == refused) return fail(ErrorCode::unavailable, "not now");
      return {};
    };
    identity.revoke = [](const std::string&) -> Result<void> { return {}; };
    identity.is_enrolled = [](const std::string&) -> Result<bool> { return false; };
  }
  std::string text(const std::string& more) const {
    return "[pool]\nname = \"sales\"\nimage = \"win10\"\nclones = \"SALES-{n}\"\ncount = 3\ndirectory = \"" +
           (folder / "disks") + "\"\n[user_disk]\nsize = \"64 MiB\"\nletter = \"U\"\n" + more;
  }
  PoolSpec spec(const std::string& more = "") {
    return must(parse_pool_spec(files, text(more), "sales.toml", folder.path()));
  }
  Result<PoolResult> create(const std::string& more = "") {
    const auto wanted = spec(more);
    const auto job = must(store->jobs().begin("sales", "pool create"));
    return PoolJob(files, *store, identity).create(job, wanted, text(more), 2, {});
  }
  void remove(bool delete_data, const std::string& more = "") {
    const auto job = must(store->jobs().begin("sales", "pool delete"));
    must(PoolJob(files, *store, identity).remove(job, spec(more), {}, delete_data));
  }
  bool has_data(const std::string& clone) { return std::filesystem::exists(data_disk_path(spec(), clone)); }
  // What the clone's registry says of U:, and what that must be for the disk that is there.
  Bytes letter_of(const std::string& clone) {
    const auto disk = must(WindowsDisk::open(files, paths_of(spec(), clone).active));
    const auto hives = must(ImageHives::load(disk->volume()));
    return hives.data(HiveId::system, "MountedDevices", "\\DosDevices\\U:").value();
  }
  Bytes id_of(const std::string& clone, const std::string& more = "") {
    const auto wanted = spec(more);
    const auto disk = must(vdisk::Disk::open(files, data_disk_path(wanted, clone), vdisk::Access::read));
    const auto table = must(volume::read_partition_table(*disk));
    return drive_letter_data(*wanted.user_disk, {Guid(), table.partitions.at(0).id, table.signature});
  }
};

TEST_CASE("desktops know their user disks by letter; disks outlive desktops until somebody says otherwise") {
  if (!support::available("mkntfs")) return;
  Farm farm;
  const auto made = must(farm.create());
  CHECK(made.made == 3);
  for (const char* clone : {"SALES-1", "SALES-2", "SALES-3"})
    CHECK(farm.letter_of(clone) == farm.id_of(clone));
  CHECK(farm.id_of("SALES-1") != farm.id_of("SALES-2"));
  const auto first = farm.id_of("SALES-1"), third = farm.id_of("SALES-3");
  PoolJob jobs(farm.files, *farm.store, farm.identity);
  {
    const auto job = must(farm.store->jobs().begin_clone("sales", "SALES-1", "clone refresh"));
    must(jobs.refresh_clone(job, farm.spec(), must(farm.store->clone("SALES-1"))));
    CHECK(farm.letter_of("SALES-1") == first);
    CHECK(farm.id_of("SALES-1") == first);
  }
  {
    const auto job = must(farm.store->jobs().begin_clone("sales", "SALES-2", "clone delete"));
    must(jobs.remove_clone(job, farm.spec(), must(farm.store->clone("SALES-2")), true));
    CHECK_FALSE(farm.has_data("SALES-2"));
  }
  {
    const auto job = must(farm.store->jobs().begin_clone("sales", "SALES-3", "clone delete"));
    must(jobs.remove_clone(job, farm.spec(), must(farm.store->clone("SALES-3"))));
    CHECK(farm.has_data("SALES-3"));
    CHECK(must(data_disks_there(farm.files, farm.spec(), {"SALES-1", "SALES-2", "SALES-3"})).size() == 2);
  }
  farm.remove(false);
  CHECK(farm.has_data("SALES-1"));

  // The next pool of these names: asked for, it takes over what people have kept there.
  const auto refusal = farm.create();
  REQUIRE_FALSE(refusal);
  CHECK(refusal.error().code == ErrorCode::exists);
  CHECK(refusal.error().to_string().find("SALES-1.data.vhdx") != std::string::npos);
  CHECK(must(farm.create("existing = \"reuse\"\n")).made == 3);
  CHECK(farm.id_of("SALES-1") == first);
  CHECK(farm.letter_of("SALES-1") == first);
  CHECK(farm.letter_of("SALES-3") == third);
  CHECK(farm.letter_of("SALES-2") == farm.id_of("SALES-2"));
  farm.remove(true, "existing = \"reuse\"\n");
  for (const char* clone : {"SALES-1", "SALES-2", "SALES-3"}) CHECK_FALSE(farm.has_data(clone));
}

TEST_CASE("a desktop that fails takes the user disk along that was made for it, and only that") {
  if (!support::available("mkntfs")) return;
  Farm farm;
  const std::string mbr = "table = \"mbr\"\nexisting = \"reuse\"\n";
  farm.refused = "SALES-2";
  CHECK(must(farm.create(mbr)).failed.size() == 1);
  CHECK(farm.has_data("SALES-1"));
  CHECK_FALSE(farm.has_data("SALES-2"));
  farm.refused.clear();
  CHECK(must(farm.create(mbr)).made == 1);
  CHECK(farm.letter_of("SALES-2") == farm.id_of("SALES-2", mbr));
  farm.remove(false, mbr);
  const auto kept = farm.id_of("SALES-2", mbr);
  farm.refused = "SALES-2";
  CHECK(must(farm.create(mbr)).failed.size() == 1);
  CHECK(farm.id_of("SALES-2", mbr) == kept);  // somebody's data, not this attempt's
}

std::string content_of(const ntfs::Volume& volume, const std::string& path) {
  const auto record = must(volume.record(must(volume.lookup(path)).record));
  for (const auto& stream : record.streams)
    if (stream.name.empty()) {
      Bytes content(static_cast<std::size_t>(stream.size_bytes));
      must(volume.read(stream, 0, content));
      return std::string(as_text(content));
    }
  return "no content";
}

TEST_CASE("an image without the agent gets the program that runs the first start's steps, and its service") {
  if (!support::available("mkntfs")) return;
  Farm farm(false);
  std::ofstream(farm.folder / "10-printers.cmd") << "@echo off\r\n";
  const std::string steps =
      "mode = \"raw\"\n[[scripts]]\nsource = \"10-printers.cmd\"\n[[scripts]]\nstep = \"activate\"\nattempts "
      "= 5\n"
      "[[scripts]]\nstep = \"assign-drive-letter\"\nletter = \"X\"\nlabel = "
      "\"Archive\"\n[first_boot]\nprogram = \"" +
      (farm.folder / "program.exe") + "\"\n";
  auto refused = farm.create(steps);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::not_found);
  CHECK(refused.error().to_string().find("program.exe: is not there") != std::string::npos);
  std::ofstream(farm.folder / "program.exe") << "#!/bin/sh\n";
  CHECK(farm.create(steps).error().to_string().find("is no Windows program") != std::string::npos);
  const auto program = "MZ" + std::string(300'000, 'x');
  std::ofstream(farm.folder / "program.exe") << program;

  const auto plan = must(PoolJob(farm.files, *farm.store, farm.identity).plan(farm.spec(steps)));
  const auto planned = [&](const std::string& path) {
    return std::any_of(plan.common.files.begin(), plan.common.files.end(),
                       [&](const FileEdit& edit) { return edit.path == path; });
  };
  CHECK(planned(kFirstBootProgram));
  CHECK(planned(std::string(kFirstBootFolder) + "steps.json"));
  CHECK(must(farm.create(steps)).made == 3);

  // The very entry that Wine's service manager starts the program by (tests/wine/firstboot).
  const auto* sources = std::getenv("ROAMSTEAD_SOURCE_DIR");
  if (sources != nullptr) {
    const auto text =
        must(os::read_file(farm.files, std::string(sources) + "/tests/wine/service.reg", 1u << 20));
    const std::string in_wine = "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\";
    std::vector<const RegistryEdit*> written;
    for (const auto& edit : plan.common.registry)
      if (edit.unit == "first-boot-program") written.push_back(&edit);
    std::size_t compared = 0;
    for (const auto& change : must(registry::parse_reg(text))) {
      if (change.kind != registry::RegChange::Kind::set_value) continue;
      REQUIRE(compared < written.size());
      const auto& edit = *written[compared++];
      CAPTURE(edit.name);
      CHECK(change.key == in_wine + edit.key.substr(std::string("ControlSet001\\").size()));
      CHECK(change.value_name == edit.name);
      CHECK(change.type == edit.type);
      CHECK(change.data == edit.data);
    }
    CHECK(compared == written.size());
    CHECK(compared == 9);
  }

  const auto disk = must(WindowsDisk::open(farm.files, paths_of(farm.spec(steps), "SALES-2").active));
  CHECK(content_of(disk->volume(), kFirstBootProgram) == program);
  CHECK(content_of(disk->volume(), std::string(kFirstBootFolder) + "scripts/10-printers.cmd") ==
        "@echo off\r\n");
  const auto placed = must(firstboot::parse_steps(
      content_of(disk->volume(), std::string(kFirstBootFolder) + "steps.json"), "steps"));
  REQUIRE(placed.size() == 4);
  CHECK(placed[0].kind == firstboot::StepKind::format_data_disk);
  CHECK(placed[0].disk_bytes == 64u << 20);
  CHECK(placed[0].letter == 'U');
  CHECK(placed[1].name == "10-printers.cmd");
  CHECK(placed[2].kind == firstboot::StepKind::activate);
  CHECK(placed[2].attempts == 5);
  CHECK(placed[3].letter == 'X');
  CHECK(placed[3].label == "Archive");
  // What runs as SYSTEM lies where nobody else can put anything.
  const auto security_of = [&](const std::string& path) {
    const auto record = must(disk->volume().record(must(disk->volume().lookup(path)).record));
    return must(disk->volume().security_descriptor(record.security_id));
  };
  const std::string folder(kFirstBootFolder, std::string_view(kFirstBootFolder).size() - 1);
  const auto closed = security_of("ProgramData/Roamstead/identity");
  CHECK(security_of(folder) == closed);
  CHECK(security_of(folder + "/scripts") == closed);
  CHECK(security_of(folder + "/steps.json") == security_of("ProgramData/Roamstead/identity/identity.pem"));
  CHECK(security_of("ProgramData") != closed);
  const auto hives = must(ImageHives::load(disk->volume()));
  const std::string key = "ControlSet001\\Services\\RoamsteadFirstBoot";
  CHECK(hives.number(HiveId::system, key, "Type") == 0x10u);
  CHECK(hives.number(HiveId::system, key, "Start") == 2u);
  CHECK(hives.number(HiveId::system, key, "ErrorControl") == 1u);
  CHECK(hives.text(HiveId::system, key, "ImagePath") ==
        "\"%ProgramFiles%\\Roamstead\\roamstead-firstboot.exe\" --service");
  CHECK(hives.text(HiveId::system, key, "ObjectName") == "LocalSystem");
  const auto actions = hives.data(HiveId::system, key, "FailureActions").value();
  REQUIRE(actions.size() == 20 + 4 * 8);
  CHECK(load_le<std::uint32_t>(actions, 12) == 4);
  CHECK(load_le<std::uint32_t>(actions, 20) == 1);      // start it again
  CHECK(load_le<std::uint32_t>(actions, 24) == 5'000);  // ms
  // The raw disk has no letter to be kept: the step gives it one.
  CHECK_FALSE(hives.data(HiveId::system, "MountedDevices", "\\DosDevices\\U:"));
}

TEST_CASE("the program is not placed where the agent is, or nothing is to run") {
  auto& files = os::real_file_system();
  PoolSpec spec;
  WindowsImage image;
  image.architecture = "AMD64";
  spec.first_boot_program = "/nowhere";
  CHECK(must(load_first_boot_program(files, spec, image)).empty());
  spec.scripts.push_back({"a.cmd", {}});
  CHECK(load_first_boot_program(files, spec, image).error().code == ErrorCode::not_found);
  image.architecture = "x86";
  CHECK(load_first_boot_program(files, spec, image).error().code == ErrorCode::unsupported);
  image.agent = "0.1.0";
  CHECK(must(load_first_boot_program(files, spec, image)).empty());
}

TEST_CASE("steps that cannot be are told with their line") {
  auto& files = os::real_file_system();
  const auto refusal = [&](const std::string& more) {
    const auto parsed = parse_pool_spec(
        files,
        "[pool]\nname = \"a\"\nimage = \"b\"\nclones = \"A-{n}\"\ncount = 1\ndirectory = \"/d\"\n" + more,
        "a.toml", "/");
    return parsed ? std::string() : parsed.error().to_string();
  };
  CHECK(refusal(
            "[[scripts]]\nstep = \"activate\"\n[[scripts]]\nstep = \"assign-drive-letter\"\nletter = \"E\"\n"
            "label = \"x\"\n[[scripts]]\nstep = \"assign-drive-letter\"\nletter = \"F\"\nlabel = \"y\"\n")
            .empty());
  for (const auto& [more, wanted] : std::initializer_list<std::pair<const char*, const char*>>{
           {"[[scripts]]\nattempts = 1\n", "needs 'source' or 'step'"},
           {"[[scripts]]\nstep = \"activate\"\nsource = \"a.cmd\"\n", "has both"},
           {"[[scripts]]\nstep = \"levitate\"\n", "neither assign-drive-letter nor activate"},
           {"[[scripts]]\nstep = \"format-data-disk\"\n", "without being asked"},
           {"[[scripts]]\nstep = \"activate\"\n[[scripts]]\nstep = \"activate\"\n", "is there twice"},
           {"[[scripts]]\nstep = \"assign-drive-letter\"\nletter = \"E\"\n", "scripts.label' is missing"},
           {"[[scripts]]\nstep = \"activate\"\nletter = \"E\"\n", "unknown key 'scripts.letter'"},
           {"[[scripts]]\nsource = \"50%.cmd\"\n", "cannot be the name of a step"},
           {"[[scripts]]\nsource = \"a.vbs\"\n", "ends in .cmd, .bat, .ps1 or .exe"},
           {"[first_boot]\nprogram = \"x.exe\"\n", "absolute path"}}) {
    CAPTURE(more);
    CHECK(refusal(more).find(wanted) != std::string::npos);
  }
}

TEST_CASE("what cannot be in [user_disk] is told with its line") {
  auto& files = os::real_file_system();
  const auto refusal = [&](const std::string& more) {
    const auto parsed = parse_pool_spec(files,
                                        "[pool]\nname = \"a\"\nimage = \"b\"\nclones = \"A-{n}\"\ncount = 1\n"
                                        "directory = \"/d\"\nformat = \"qcow2\"\n[user_disk]\n" +
                                            more,
                                        "a.toml", "/");
    return parsed ? std::string() : parsed.error().to_string();
  };
  CHECK(refusal("size = \"20 GiB\"\nformat = \"vmdk\"\nmode = \"raw\"\ntable = \"mbr\"\nlabel = \"Übung 1\"\n"
                "letter = \"Z\"\ndirectory = \"/data\"\nexisting = \"reuse\"\n")
            .empty());
  CHECK(refusal("").find("'user_disk.size' is missing") != std::string::npos);
  for (const auto& [more, wanted] : std::initializer_list<std::pair<const char*, const char*>>{
           {"size = \"20 GB\"\n", "user_disk.size"},
           {"size = \"1 MiB\"\n", "64 MiB to 64 TiB"},
           {"size = \"65 TiB\"\n", "64 MiB to 64 TiB"},
           {"size = \"3 TiB\"\ntable = \"mbr\"\n", "at most 2 TiB"},
           {"size = \"2041 GiB\"\nformat = \"vhd\"\n", "2040 GiB"},
           {"size = \"1 GiB\"\nformat = \"vdi\"\n", "none of vhdx, vhd, qcow2, vmdk"},
           {"size = \"1 GiB\"\nmode = \"fat\"\n", "neither formatted nor raw"},
           {"size = \"1 GiB\"\nletter = \"C\"\n", "no drive letter"},
           {"size = \"1 GiB\"\nletter = \"d\"\n", "no drive letter"},
           {"size = \"1 GiB\"\nlabel = \"a/b\"\n", "cannot be a volume's label"},
           {"size = \"1 GiB\"\ndirectory = \"data\"\n", "absolute path"},
           {"size = \"1 GiB\"\nlettr = \"D\"\n", "did you mean 'letter'"}}) {
    CAPTURE(more);
    CHECK(refusal(more).find(wanted) != std::string::npos);
    CHECK(refusal(more).find("a.toml:") == 0);
  }
}

}  // namespace
}  // namespace roamstead::compose
