#include "agent/core/preview.h"

#include <algorithm>
#include <numeric>

#include "agent/core/patience.h"
#include "common/base/log.h"

namespace roamstead::agent {

using profile::ProfilePath;

namespace {

std::uint64_t cost_of(const PreviewList& list) {
  constexpr std::uint64_t kEach = sizeof(profile::NamedEntry) + sizeof(std::size_t);
  std::uint64_t cost = kEach;
  for (const auto& entry : list.entries())
    cost += kEach + entry.name.size() + entry.entry.metadata.security.size() +
            entry.entry.link_target.size() + entry.entry.streams.size() * sizeof(profile::Stream);
  return cost;
}

}  // namespace

PreviewList::PreviewList(std::vector<profile::NamedEntry> entries)
    : entries_(std::move(entries)), by_name_(entries_.size()) {
  std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
  std::sort(by_name_.begin(), by_name_.end(),
            [&](std::size_t a, std::size_t b) { return entries_[a].name < entries_[b].name; });
}

const profile::Entry* PreviewList::find(std::string_view name) const {
  auto found = std::lower_bound(
      by_name_.begin(), by_name_.end(), name,
      [&](std::size_t index, std::string_view wanted) { return entries_[index].name < wanted; });
  return found == by_name_.end() || entries_[*found].name != name ? nullptr : &entries_[*found].entry;
}

std::string Preview::key(const ProfilePath& path, std::uint64_t block) {
  return path.text() + '\0' + std::to_string(block);
}

Result<std::shared_ptr<const PreviewList>> Preview::fetch_list(const ProfilePath& path,
                                                               wire::DirectoryPart part) {
  std::vector<profile::NamedEntry> entries;
  for (;;) {
    if (part.more && part.entries.empty())
      return fail(ErrorCode::protocol, "listing " + path.text() + ": an empty part that is not the last");
    for (auto& entry : part.entries) {
      RS_CHECK_CTX("listing " + path.text(), profile::check_name(entry.name));
      entries.push_back(std::move(entry));
    }
    if (!part.more) return std::make_shared<const PreviewList>(std::move(entries));
    RS_TRY(part, retry_while_away(patience_,
                                  [&] { return link_.list(session_secret_, path, entries.back().name); }));
  }
}

Result<std::shared_ptr<const PreviewList>> Preview::list(const ProfilePath& path) {
  Activity::Foreground foreground(activity_);
  return lists_.get(path.text(), [&]() -> Result<FetchCache<PreviewList>::Fetched> {
    RS_TRY(auto first, retry_while_away(patience_, [&] { return link_.list(session_secret_, path, ""); }));
    RS_TRY(auto list, fetch_list(path, std::move(first)));
    if (touched_) touched_({path, true, {}});
    auto cost = cost_of(*list);
    return FetchCache<PreviewList>::Fetched{std::move(list), cost};
  });
}

// Where the block before is kept too, a file is being read front to back: then more at once.
Result<Preview::Block> Preview::fetch_block(const ProfilePath& path, std::uint64_t size_bytes,
                                            std::uint64_t block) {
  const auto offset = block * kBlockBytes;
  std::uint64_t blocks = 1;
  if (block != 0 && blocks_.find(key(path, block - 1)) != nullptr)
    while (blocks < wire::kMaxReadBytes / kBlockBytes && blocks_.find(key(path, block + blocks)) == nullptr)
      ++blocks;
  const auto length = std::min<std::uint64_t>(blocks * kBlockBytes, size_bytes - offset);
  RS_TRY(auto data, retry_while_away(patience_, [&] {
           return link_.read(session_secret_, path, "", offset, static_cast<std::size_t>(length));
         }));
  if (data.size() != length)
    return fail(ErrorCode::protocol, std::to_string(data.size()) + " bytes at offset " +
                                         std::to_string(offset) + ", expected " + std::to_string(length));
  ++counters_.fetches;
  counters_.fetched_bytes += data.size();
  if (touched_) touched_({path, false, {offset, length}});
  for (auto at = kBlockBytes; at < length; at += kBlockBytes) {
    auto part = ByteView(data).subspan(at, std::min<std::uint64_t>(kBlockBytes, length - at));
    blocks_.put(key(path, (offset + at) / kBlockBytes),
                {std::make_shared<const Bytes>(part.begin(), part.end()), part.size()});
  }
  if (data.size() > kBlockBytes) {
    data.resize(kBlockBytes);
    data.shrink_to_fit();
  }
  return std::make_shared<const Bytes>(std::move(data));
}

Result<Bytes> Preview::read(const ProfilePath& path, std::uint64_t size_bytes, ByteRange range) {
  Activity::Foreground foreground(activity_);
  range = intersect(range, {0, size_bytes});
  Bytes out;
  out.reserve(range.length);
  while (out.size() < range.length) {
    const auto at = range.offset + out.size();
    const auto block = at / kBlockBytes;
    auto data = blocks_.get(key(path, block), [&]() -> Result<FetchCache<Bytes>::Fetched> {
      RS_TRY(auto fetched, fetch_block(path, size_bytes, block));
      return FetchCache<Bytes>::Fetched{fetched, fetched->size()};
    });
    if (!data)
      return fail(
          std::move(data).error().with("reading '" + path.text() + "' at offset " + std::to_string(at)));
    const auto inside = at - block * kBlockBytes;
    if (inside >= (*data)->size())  // fetched ahead, and then of another size than the list says
      return fail(ErrorCode::protocol, "'" + path.text() + "' ends before its size");
    auto part = ByteView(**data).subspan(inside);
    part = part.first(std::min<std::size_t>(part.size(), range.length - out.size()));
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

std::optional<Bytes> Preview::kept(const ProfilePath& path, ByteRange range) {
  Bytes out;
  out.reserve(range.length);
  while (out.size() < range.length) {
    const auto at = range.offset + out.size();
    auto data = blocks_.find(key(path, at / kBlockBytes));
    const auto inside = at % kBlockBytes;
    if (!data || inside >= data->size()) return std::nullopt;
    auto part = ByteView(*data).subspan(inside);
    part = part.first(std::min<std::size_t>(part.size(), range.length - out.size()));
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

void Preview::take(const wire::FetchItem& item, wire::Fetched fetched) {
  if (fetched.kind == wire::Fetched::Kind::directory) {
    auto list = lists_.get(item.path.text(), [&]() -> Result<FetchCache<PreviewList>::Fetched> {
      RS_TRY(auto whole, fetch_list(item.path, std::move(fetched.part)));
      auto cost = cost_of(*whole);
      return FetchCache<PreviewList>::Fetched{std::move(whole), cost};
    });
    if (!list) {
      log_info("fetching ahead: {}", list.error().to_string());
    } else if (touched_) {
      touched_({item.path, true, {}});
    }
    return;
  }
  if (fetched.kind != wire::Fetched::Kind::file || fetched.content.empty()) return;
  ++counters_.fetches;
  counters_.fetched_bytes += fetched.content.size();
  auto size = fetched.content.size();
  if (touched_) touched_({item.path, false, {0, size}});
  blocks_.put(key(item.path, 0), {std::make_shared<const Bytes>(std::move(fetched.content)), size});
}

Result<std::size_t> Preview::fetch_ahead(const std::vector<wire::WorkingItem>& items,
                                         const std::atomic<bool>& stopping) {
  std::vector<wire::FetchItem> wanted;
  for (const auto& item : items) {
    auto path = ProfilePath::parse(item.path);
    if (path && item.kind != wire::WorkingItem::Kind::key)
      wanted.push_back({std::move(*path), item.kind == wire::WorkingItem::Kind::directory});
  }
  std::size_t fetched = 0;
  while (fetched < wanted.size() && !stopping) {
    auto first = wanted.begin() + static_cast<std::ptrdiff_t>(fetched);
    auto most = std::min(wanted.size() - fetched, wire::kMostFetchItems);
    std::vector<wire::FetchItem> rest(first, first + static_cast<std::ptrdiff_t>(most));
    RS_TRY(auto answered, link_.fetch(session_secret_, rest));
    if (answered.empty() || answered.size() > rest.size())
      return fail(ErrorCode::protocol, "an answer with " + std::to_string(answered.size()) + " items");
    for (std::size_t i = 0; i < answered.size(); ++i) take(rest[i], std::move(answered[i]));
    fetched += answered.size();
  }
  return fetched;
}

}  // namespace roamstead::agent
