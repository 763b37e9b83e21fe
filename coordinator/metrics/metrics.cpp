#include "coordinator/metrics/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

namespace roamstead::metrics {
namespace {

void append_escaped(std::string& text, const std::string& value) {
  for (char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    if (c == '\n')
      text += "\\n";
    else
      text += c;
  }
}

// {a="b",le="..."}; nothing when there are none.
std::string label_text(const Labels& labels, const std::string& bound = {}) {
  if (labels.empty() && bound.empty()) return {};
  std::string text = "{";
  for (const auto& [name, value] : labels) {
    if (text.size() > 1) text += ',';
    text += name + "=\"";
    append_escaped(text, value);
    text += '"';
  }
  if (!bound.empty()) text += (text.size() > 1 ? ",le=\"" : "le=\"") + bound + '"';
  return text + "}";
}

std::string seconds_text(std::uint64_t microseconds) {
  return fmt::format("{}", static_cast<double>(microseconds) / 1e6);
}

}  // namespace

void Histogram::observe(Duration took) {
  const auto elapsed = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
  const auto microseconds = elapsed < 0 ? 0 : static_cast<std::uint64_t>(elapsed);
  const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), microseconds) - kBounds.begin();
  buckets_[static_cast<std::size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  microseconds_.fetch_add(microseconds, std::memory_order_relaxed);
}

std::uint64_t Histogram::count() const {
  std::uint64_t sum = 0;
  for (const auto& bucket : buckets_) sum += bucket.load(std::memory_order_relaxed);
  return sum;
}

Registry::Family& Registry::family(const std::string& name, const std::string& help, Kind kind) {
  for (auto& family : families_)
    if (family->name == name) {
      if (family->kind != kind) std::abort();  // a programming error: two kinds under one name
      return *family;
    }
  families_.push_back(std::make_unique<Family>());
  families_.back()->name = name;
  families_.back()->help = help;
  families_.back()->kind = kind;
  return *families_.back();
}

namespace {

template <class Metric>
Metric& find_or_make(std::vector<std::pair<Labels, std::unique_ptr<Metric>>>& list, Labels labels) {
  for (auto& [known, metric] : list)
    if (known == labels) return *metric;
  list.emplace_back(std::move(labels), std::make_unique<Metric>());
  return *list.back().second;
}

}  // namespace

Counter& Registry::counter(const std::string& name, const std::string& help, Labels labels) {
  std::lock_guard guard(mutex_);
  return find_or_make(family(name, help, Kind::counter).counters, std::move(labels));
}

Histogram& Registry::histogram(const std::string& name, const std::string& help, Labels labels) {
  std::lock_guard guard(mutex_);
  return find_or_make(family(name, help, Kind::histogram).histograms, std::move(labels));
}

void Registry::gauge(const std::string& name, const std::string& help, std::function<Values()> values) {
  std::lock_guard guard(mutex_);
  family(name, help, Kind::gauge).values = std::move(values);
}

std::vector<Registry::Sample> Registry::samples() const {
  std::vector<Sample> all;
  std::lock_guard guard(mutex_);
  for (const auto& family : families_) {
    for (const auto& [labels, counter] : family->counters)
      all.push_back({family->name + "_total", labels, static_cast<double>(counter->value())});
    if (family->values)
      for (auto& [labels, value] : family->values()) all.push_back({family->name, labels, value});
    for (const auto& [labels, histogram] : family->histograms) {
      all.push_back({family->name + "_count", labels, static_cast<double>(histogram->count())});
      const auto sum = histogram->microseconds_.load(std::memory_order_relaxed);
      all.push_back({family->name + "_sum", labels, static_cast<double>(sum) / 1e6});
    }
  }
  return all;
}

std::string Registry::exposition() const {
  std::string text;
  auto out = std::back_inserter(text);
  std::lock_guard guard(mutex_);
  for (const auto& family : families_) {
    const auto& name = family->name;
    const char* type = family->kind == Kind::counter ? "counter"
                       : family->kind == Kind::gauge ? "gauge"
                                                     : "histogram";
    fmt::format_to(out, "# TYPE {} {}\n", name, type);
    if (family->kind == Kind::histogram) fmt::format_to(out, "# UNIT {} seconds\n", name);
    text += "# HELP " + name + " ";
    append_escaped(text, family->help);
    text += '\n';
    for (const auto& [labels, counter] : family->counters)
      fmt::format_to(out, "{}_total{} {}\n", name, label_text(labels), counter->value());
    if (family->values)
      for (const auto& [labels, value] : family->values())
        fmt::format_to(out, "{}{} {}\n", name, label_text(labels), value);
    for (const auto& [labels, histogram] : family->histograms) {
      // The count is what was just added up: the buckets and it may never disagree.
      std::uint64_t count = 0;
      for (std::size_t i = 0; i < Histogram::kBounds.size(); ++i) {
        count += histogram->buckets_[i].load(std::memory_order_relaxed);
        fmt::format_to(out, "{}_bucket{} {}\n", name, label_text(labels, seconds_text(Histogram::kBounds[i])),
                       count);
      }
      count += histogram->buckets_.back().load(std::memory_order_relaxed);
      fmt::format_to(out, "{}_bucket{} {}\n", name, label_text(labels, "+Inf"), count);
      fmt::format_to(out, "{}_count{} {}\n", name, label_text(labels), count);
      fmt::format_to(out, "{}_sum{} {}\n", name, label_text(labels),
                     seconds_text(histogram->microseconds_.load(std::memory_order_relaxed)));
    }
  }
  return text + "# EOF\n";
}

}  // namespace roamstead::metrics
