// Search for what was typed before the index was ready; the theme would wait for another key.
addEventListener("load", () => {
  searchWorker.addEventListener("message", (event) => {
    if (event.data.allowSearch && document.getElementById("properdocs-search-query").value) doSearch();
  });
});
