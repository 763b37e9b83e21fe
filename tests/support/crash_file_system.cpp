#include "tests/support/crash_file_system.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace roamstead::support {
namespace {

constexpr std::size_t kSectorBytes = 512;

tl::unexpected<Error> power_is_gone() { return fail(ErrorCode::io, "simulated power loss"); }

}  // namespace

// Refers back to its file system, which must outlive it.
class CrashFile final : public os::File {
 public:
  CrashFile(CrashFileSystem& files, std::shared_ptr<CrashFileSystem::Node> node, std::string path,
            bool writable)
      : files_(files),
        node_(std::move(node)),
        path_(std::move(path)),
        writable_(writable),
        generation_(files.generation_) {}
  ~CrashFile() override {
    std::lock_guard guard(files_.mutex_);
    if (locked_exclusively_) node_->exclusively_locked = false;
    if (locked_shared_) --node_->shared_locks;
  }

  Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override {
    std::lock_guard guard(files_.mutex_);
    if (generation_ != files_.generation_) return power_is_gone();
    return node_->content.read(offset, out);
  }
  Result<void> write_at(std::uint64_t offset, ByteView data) override {
    return change({offset, to_bytes(data), false});
  }
  Result<void> truncate(std::uint64_t size_bytes) override { return change({size_bytes, {}, true}); }
  Result<std::uint64_t> size() const override {
    std::lock_guard guard(files_.mutex_);
    return node_->content.size();
  }
  Result<void> sync() override {
    std::lock_guard guard(files_.mutex_);
    if (generation_ != files_.generation_) return power_is_gone();
    RS_CHECK(files_.count_operation());
    for (const auto& write : node_->pending) CrashFileSystem::replay(node_->durable, write);
    node_->pending.clear();
    return {};
  }
  Result<void> lock(bool exclusive) override {
    std::lock_guard guard(files_.mutex_);
    if (node_->exclusively_locked || (exclusive && node_->shared_locks > 0))
      return fail(ErrorCode::busy, path_ + ": in use by another program");
    (exclusive ? locked_exclusively_ : locked_shared_) = true;
    if (exclusive)
      node_->exclusively_locked = true;
    else
      ++node_->shared_locks;
    return {};
  }
  const std::string& path() const override { return path_; }

 private:
  Result<void> change(CrashFileSystem::Write write) {
    std::lock_guard guard(files_.mutex_);
    if (generation_ != files_.generation_) return power_is_gone();
    if (!writable_) return fail(ErrorCode::denied, path_ + ": opened for reading only");
    RS_CHECK(files_.count_operation());
    CrashFileSystem::replay(node_->content, write);
    node_->pending.push_back(std::move(write));
    return {};
  }

  CrashFileSystem& files_;
  std::shared_ptr<CrashFileSystem::Node> node_;  // shared with the directory and other open files
  std::string path_;
  bool writable_;
  bool locked_exclusively_ = false;
  bool locked_shared_ = false;
  std::uint64_t generation_;
};

void SharedPages::resize(std::uint64_t size_bytes) {
  if (size_bytes < size_) {
    pages_.resize((size_bytes + kPageBytes - 1) / kPageBytes);
    if (const auto in_page = size_bytes % kPageBytes; in_page != 0 && pages_.back() != nullptr)
      std::fill_n(writable(pages_.size() - 1) + in_page, kPageBytes - in_page, std::byte{0});
  }
  size_ = size_bytes;
  pages_.resize((size_bytes + kPageBytes - 1) / kPageBytes);
}

std::byte* SharedPages::writable(std::uint64_t page) {
  auto& bytes = pages_[page];
  if (bytes == nullptr)
    bytes = std::make_shared<Bytes>(kPageBytes);
  else if (bytes.use_count() > 1)
    bytes = std::make_shared<Bytes>(*bytes);
  return bytes->data();
}

std::size_t SharedPages::read(std::uint64_t offset, MutableByteView out) const {
  if (offset >= size_) return 0;
  out = out.first(std::min<std::uint64_t>(out.size(), size_ - offset));
  for (std::size_t done = 0; done < out.size();) {
    const auto in_page = (offset + done) % kPageBytes;
    const auto count = std::min<std::size_t>(kPageBytes - in_page, out.size() - done);
    const auto& page = pages_[(offset + done) / kPageBytes];
    if (page == nullptr)
      std::memset(out.data() + done, 0, count);
    else
      std::memcpy(out.data() + done, page->data() + in_page, count);
    done += count;
  }
  return out.size();
}

void SharedPages::write(std::uint64_t offset, ByteView data) {
  if (size_ < offset + data.size()) resize(offset + data.size());
  for (std::size_t done = 0; done < data.size();) {
    const auto in_page = (offset + done) % kPageBytes;
    const auto count = std::min<std::size_t>(kPageBytes - in_page, data.size() - done);
    std::memcpy(writable((offset + done) / kPageBytes) + in_page, data.data() + done, count);
    done += count;
  }
}

void CrashFileSystem::replay(SharedPages& content, const Write& write) {
  if (write.resize)
    content.resize(write.offset);
  else
    content.write(write.offset, write.data);
}

Result<void> CrashFileSystem::count_operation() {
  if (operations_ >= crash_at_) {
    refused_ = true;
    return power_is_gone();
  }
  ++operations_;
  return {};
}

std::uint64_t CrashFileSystem::operations() const {
  std::lock_guard guard(mutex_);
  return operations_;
}

void CrashFileSystem::crash_after(std::uint64_t operation_count) {
  std::lock_guard guard(mutex_);
  crash_at_ = operation_count;
  refused_ = false;
}

bool CrashFileSystem::crashed() const {
  std::lock_guard guard(mutex_);
  return refused_;
}

void CrashFileSystem::power_loss(std::uint64_t seed) {
  std::lock_guard guard(mutex_);
  std::mt19937_64 random(seed);
  // Names: a prefix of the pending changes of each directory survives (journalled directories keep their
  // order).
  std::map<std::string, bool> cut;
  for (auto& change : pending_names_) {
    if (cut[change.directory] || random() % 2 == 0) {
      cut[change.directory] = true;
      continue;
    }
    for (auto& [name, node] : change.effect) {
      if (node)
        durable_names_[name] = node;
      else
        durable_names_.erase(name);
    }
  }
  pending_names_.clear();
  names_ = durable_names_;
  for (auto& [name, node] : names_) {
    for (const auto& write : node->pending) {
      if (write.resize) {
        if (random() % 2 == 0) replay(node->durable, write);
        continue;
      }
      for (std::size_t done = 0; done < write.data.size();) {
        auto in_sector = kSectorBytes - (write.offset + done) % kSectorBytes;
        auto count = std::min(in_sector, write.data.size() - done);
        auto part = ByteView(write.data).subspan(done, count);
        if (random() % 2 == 0) node->durable.write(write.offset + done, part);
        done += count;
      }
    }
    node->pending.clear();
    node->content = node->durable;
    node->exclusively_locked = false;
    node->shared_locks = 0;
  }
  crash_at_ = ~std::uint64_t{0};
  refused_ = false;
  ++generation_;
}

std::unique_ptr<CrashFileSystem> CrashFileSystem::clone() const {
  std::lock_guard guard(mutex_);
  auto copy = std::make_unique<CrashFileSystem>();
  std::map<const Node*, std::shared_ptr<Node>> copies;  // hard links stay links
  for (const auto& [name, node] : names_) {
    auto& fresh = copies[node.get()];
    if (!fresh) {
      fresh = std::make_shared<Node>();
      fresh->content = fresh->durable = node->content;
    }
    copy->names_[name] = fresh;
  }
  copy->durable_names_ = copy->names_;
  copy->directories_ = directories_;
  return copy;
}

Result<std::unique_ptr<os::File>> CrashFileSystem::open(const std::string& path, os::OpenMode mode) {
  std::lock_guard guard(mutex_);
  auto it = names_.find(path);
  if (it == names_.end()) {
    if (mode == os::OpenMode::read || mode == os::OpenMode::read_write)
      return fail(ErrorCode::not_found, path + ": no such file");
    RS_CHECK(count_operation());
    it = names_.emplace(path, std::make_shared<Node>()).first;
    pending_names_.push_back({os::parent_directory(path), {{path, it->second}}});
  } else if (mode == os::OpenMode::create_new) {
    return fail(ErrorCode::exists, path + ": exists");
  }
  return std::make_unique<CrashFile>(*this, it->second, path, mode != os::OpenMode::read);
}

Result<void> CrashFileSystem::rename(const std::string& from, const std::string& to) {
  std::lock_guard guard(mutex_);
  auto it = names_.find(from);
  if (it == names_.end()) return fail(ErrorCode::not_found, from + ": no such file");
  RS_CHECK(count_operation());
  auto node = it->second;
  names_.erase(it);
  names_[to] = node;
  pending_names_.push_back({os::parent_directory(to), {{to, node}, {from, nullptr}}});
  return {};
}

Result<void> CrashFileSystem::link(const std::string& from, const std::string& to) {
  std::lock_guard guard(mutex_);
  auto it = names_.find(from);
  if (it == names_.end()) return fail(ErrorCode::not_found, from + ": no such file");
  if (names_.count(to) != 0) return fail(ErrorCode::exists, to + ": exists");
  RS_CHECK(count_operation());
  names_[to] = it->second;
  pending_names_.push_back({os::parent_directory(to), {{to, it->second}}});
  return {};
}

Result<bool> CrashFileSystem::same_file(const std::string& a, const std::string& b) {
  std::lock_guard guard(mutex_);
  auto first = names_.find(a);
  auto second = names_.find(b);
  if (first == names_.end()) return fail(ErrorCode::not_found, a + ": no such file");
  if (second == names_.end()) return fail(ErrorCode::not_found, b + ": no such file");
  return first->second == second->second;
}

Result<void> CrashFileSystem::remove(const std::string& path) {
  std::lock_guard guard(mutex_);
  if (directories_.erase(path) != 0) return {};
  if (names_.count(path) == 0) return fail(ErrorCode::not_found, path + ": no such file");
  RS_CHECK(count_operation());
  names_.erase(path);
  pending_names_.push_back({os::parent_directory(path), {{path, nullptr}}});
  return {};
}

Result<bool> CrashFileSystem::exists(const std::string& path) {
  std::lock_guard guard(mutex_);
  return names_.count(path) != 0 || directories_.count(path) != 0;
}

Result<std::vector<std::string>> CrashFileSystem::list_directory(const std::string& path) {
  std::lock_guard guard(mutex_);
  std::vector<std::string> found;
  for (const auto& [name, node] : names_)
    if (os::parent_directory(name) == path) found.push_back(os::base_name(name));
  for (const auto& [name, there] : directories_)
    if (there && name != path && os::parent_directory(name) == path) found.push_back(os::base_name(name));
  std::sort(found.begin(), found.end());
  return found;
}

Result<void> CrashFileSystem::make_directories(const std::string& path) {
  std::lock_guard guard(mutex_);
  for (auto name = path; name != "." && name != "/"; name = os::parent_directory(name))
    directories_[name] = true;
  return {};
}

Result<void> CrashFileSystem::sync_directory(const std::string& path) {
  std::lock_guard guard(mutex_);
  RS_CHECK(count_operation());
  std::vector<NameChange> rest;
  for (auto& change : pending_names_) {
    if (change.directory != path) {
      rest.push_back(std::move(change));
      continue;
    }
    for (auto& [name, node] : change.effect) {
      if (node)
        durable_names_[name] = node;
      else
        durable_names_.erase(name);
    }
  }
  pending_names_ = std::move(rest);
  return {};
}

}  // namespace roamstead::support
