// Content of batches made by tests, and repositories to commit them to.
#pragma once

#include <doctest/doctest.h>
#include <atomic>

#include <map>
#include <random>

#include "coordinator/repository/repository.h"
#include "tests/support/temporary_directory.h"

namespace roamstead::repository {

inline profile::ProfilePath path(std::string_view text) { return profile::ProfilePath::parse(text).value(); }

inline Bytes random_bytes(std::mt19937_64& random, std::size_t size) {
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// The whole new stream for each put stream; serves the written ranges from it.
class MapContent final : public profile::ContentSource {
 public:
  std::map<std::pair<std::size_t, std::size_t>, Bytes> streams;
  std::uint64_t bytes_read = 0;

  Result<void> read(std::size_t record, std::size_t stream, std::uint64_t offset,
                    MutableByteView out) override {
    const auto& bytes = streams.at({record, stream});
    REQUIRE(offset + out.size() <= bytes.size());
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    bytes_read += out.size();
    return {};
  }
};

// A batch under construction.
struct BatchMaker {
  profile::Batch batch;
  MapContent content;

  BatchMaker() {
    static std::atomic<std::uint64_t> next{0};  // tests commit on several threads
    batch.incarnation.bytes[0] = std::byte{1};
    batch.ordinal = ++next;
  }
  void remove(std::string_view source) { batch.records.push_back(profile::Delete{path(source)}); }
  void move(std::string_view source, std::string_view target) {
    batch.records.push_back(profile::Move{path(source), path(target)});
  }
  profile::Put& directory(std::string_view at) {
    profile::Put put;
    put.path = path(at);
    put.entry.kind = profile::EntryKind::directory;
    batch.records.push_back(put);
    return std::get<profile::Put>(batch.records.back());
  }
  profile::Put& file(std::string_view at, const Bytes& bytes) {
    profile::Put put;
    put.path = path(at);
    put.entry.size_bytes = bytes.size();
    std::vector<ByteRange> writes;
    if (!bytes.empty()) writes.push_back({0, bytes.size()});
    put.contents.push_back({"", bytes.size(), writes});
    content.streams[{batch.records.size(), 0}] = bytes;
    batch.records.push_back(put);
    return std::get<profile::Put>(batch.records.back());
  }
  profile::Put& file(std::string_view at, std::string_view text) { return file(at, to_bytes(text)); }
  // A key with one value.
  profile::PutKey& key(std::string_view hive, std::string_view key, const std::string& value,
                       const Bytes& data) {
    profile::PutKey put{path(hive), profile::KeyPath::parse(key).value(), {}, false, {}, {}};
    put.values.push_back({value, 3, data.size(), {}});
    if (put.values[0].is_inline())
      put.values[0].data = data;
    else
      content.streams[{batch.records.size(), 0}] = data;
    batch.records.push_back(std::move(put));
    return std::get<profile::PutKey>(batch.records.back());
  }
};

struct TestRepository {
  explicit TestRepository(os::FileSystem& file_system = os::real_file_system())
      : files(file_system), options{place / "repo", place / "state", false} {
    REQUIRE(Repository::init(files, options));
    reopen();
    profile = repository->create_profile("alice").value().id;
  }
  void reopen(Faults faults = {}) {
    repository.reset();
    auto opened = Repository::open(files, options, std::move(faults));
    REQUIRE_MESSAGE(opened, opened.error().to_string());
    repository = std::move(*opened);
  }
  Result<VersionInfo> commit(BatchMaker& maker, std::optional<std::uint64_t> parent = std::nullopt,
                             CommitOrigin origin = {}) {
    auto head = repository->find_profile("alice").value().head;
    return repository->commit(profile, parent.value_or(head), maker.batch, maker.content, origin);
  }
  Bytes read(std::uint64_t version, std::string_view at, const std::string& stream = "") {
    auto tree = repository->tree(profile, version).value();
    auto entry = tree->lookup(path(at)).value();
    auto size = entry.size_bytes;
    for (const auto& other : entry.streams)
      if (other.name == stream) size = other.size_bytes;
    Bytes bytes(size);
    auto done = tree->read(path(at), stream, 0, bytes);
    REQUIRE_MESSAGE(done, done.error().to_string());
    return bytes;
  }

  support::TemporaryDirectory place;
  os::FileSystem& files;
  Options options;
  std::unique_ptr<Repository> repository;
  ProfileId profile;
};

}  // namespace roamstead::repository
