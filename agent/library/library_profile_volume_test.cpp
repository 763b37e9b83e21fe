#include "agent/library/library_profile_volume.h"

#include <doctest/doctest.h>

#include "common/ntfs3g/format.h"
#include "tests/support/memory_device.h"

namespace roamstead::agent {
namespace {

struct TestVolume {
  TestVolume() {
    REQUIRE(ntfs3g::format_ntfs(device, "profile").has_value());
    library = ntfs3g::LibraryVolume::mount(device, ntfs3g::Access::write).value();
    volume = std::make_unique<LibraryProfileVolume>(*library);
    REQUIRE(volume->make_directories("Users/alice").has_value());
    REQUIRE(volume->make_directories("staging").has_value());
  }
  support::MemoryDevice device{Bytes(24u << 20)};
  std::unique_ptr<ntfs3g::LibraryVolume> library;
  std::unique_ptr<LibraryProfileVolume> volume;
};

profile::Entry sample_entry() {
  profile::Entry entry;
  entry.metadata.attributes = profile::kAttributeHidden | profile::kAttributeArchive;
  entry.metadata.created_100ns = 132'000'000'000'000'001;
  entry.metadata.written_100ns = 132'000'000'000'000'002;
  entry.size_bytes = 1'000'000;
  entry.streams = {{"big", 70'000}, {"empty", 0}};
  return entry;
}

TEST_CASE("a staged item has the entry's metadata, sizes and streams, and nothing but zeros") {
  TestVolume test;
  auto identity = test.volume->stage("staging/1", sample_entry());
  REQUIRE_MESSAGE(identity.has_value(), identity.error().to_string());
  CHECK(identity->sequence != 0);
  CHECK(identity->created_100ns == 132'000'000'000'000'001);
  auto item = test.volume->stat("staging/1").value();
  CHECK(item.record == identity->record);
  CHECK(item.size_bytes == 1'000'000);
  const auto info = test.library->stat({identity->record, identity->sequence}).value();
  CHECK(info.attributes % 0x40 == sample_entry().metadata.attributes);
  CHECK(info.written_100ns == 132'000'000'000'000'002);
  auto handle = test.volume->open("staging/1", "big").value();
  CHECK(handle->size().value() == 70'000);
  Bytes content(70'000, std::byte{1});
  CHECK(handle->read(0, content).value() == 70'000);
  CHECK(all_zero(content));
  CHECK(test.volume->open("staging/1", "none").error().code == ErrorCode::not_found);
  CHECK(test.volume->open("staging/2", "").error().code == ErrorCode::not_found);
}

TEST_CASE("publishing gives a staged item its name, and never takes a name that is there") {
  TestVolume test;
  auto directory = test.volume->open("Users/alice", "").value();
  const auto first = test.volume->stage("staging/1", sample_entry()).value();
  REQUIRE(test.volume->stage("staging/2", sample_entry()).has_value());
  REQUIRE(test.volume->publish("staging/1", *directory, "文書.txt").has_value());
  CHECK(test.volume->publish("staging/2", *directory, "文書.txt").error().code == ErrorCode::exists);
  CHECK(test.volume->stat_child(*directory, "文書.txt")->record == first.record);
  CHECK(test.volume->stat_child(*directory, "other").error().code == ErrorCode::not_found);
  CHECK(test.volume->list("Users/alice")->size() == 1);
  CHECK(test.volume->list("staging")->size() == 1);
}

TEST_CASE("a handle follows its file through a rename, and says when it was deleted") {
  TestVolume test;
  REQUIRE(test.volume->stage("Users/alice/a", sample_entry()).has_value());
  auto handle = test.volume->open("Users/alice/a", "").value();
  REQUIRE(test.volume->rename("Users/alice/a", "Users/alice/b").has_value());
  CHECK(test.volume->rename("Users/alice/a", "Users/alice/c").error().code == ErrorCode::not_found);
  REQUIRE(handle->write(5, as_bytes("text")).has_value());
  REQUIRE(handle->set_times({1'000'000, 2'000'000}).has_value());
  CHECK(handle->times()->written_100ns == 2'000'000);
  Bytes got(4);
  REQUIRE(test.volume->open("Users/alice/b", "").value()->read(5, got).has_value());
  CHECK(as_text(got) == "text");
  REQUIRE(test.volume->remove_tree("Users/alice/b").has_value());
  CHECK(handle->read(0, got).error().code == ErrorCode::not_found);
}

TEST_CASE("a tree is removed with all it holds; one that is not there is fine") {
  TestVolume test;
  REQUIRE(test.volume->make_directories("Users/alice/d/e/f").has_value());
  REQUIRE(test.volume->stage("Users/alice/d/e/file", sample_entry()).has_value());
  REQUIRE(test.volume->remove_tree("Users/alice/d").has_value());
  CHECK(test.volume->stat("Users/alice/d").error().code == ErrorCode::not_found);
  CHECK(test.volume->list("Users/alice")->empty());
  CHECK(test.volume->remove_tree("Users/alice/d").has_value());
  CHECK(test.volume->remove_tree("no/such/place").has_value());
}

TEST_CASE("a tree is removed in parts where it must not take long") {
  TestVolume test;
  REQUIRE(test.volume->make_directories("Users/alice/d/e").has_value());
  constexpr int kFiles = 20;
  for (int number = 0; number < kFiles; ++number)
    REQUIRE(test.volume->stage("Users/alice/d/e/" + std::to_string(number), sample_entry()).has_value());
  int asked = 0;
  const auto gone = test.volume->remove_tree_while([&] { return ++asked <= 10; }, "Users/alice/d");
  REQUIRE(gone.has_value());
  CHECK_FALSE(*gone);
  const auto left = test.volume->list("Users/alice/d/e")->size();
  CHECK(left > 0);
  CHECK(left < kFiles);
  CHECK(test.volume->remove_tree_while([] { return true; }, "Users/alice/d").value());
  CHECK(test.volume->stat("Users/alice/d").error().code == ErrorCode::not_found);
  CHECK(test.volume->remove_tree_while([] { return true; }, "Users/alice/d").value());
}

}  // namespace
}  // namespace roamstead::agent
