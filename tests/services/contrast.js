// The visible texts whose contrast to what is behind them is below 4.5, the least that WCAG 2 AA asks for small ones.
// What cannot be used at the moment may be faint.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pixel = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = ([r, g, b, alpha], below) =>
    [r, g, b].map((part, index) => (part * alpha + below[index] * (255 - alpha)) / 255);
  const behind = (element) =>
    element ? over(pixel(getComputedStyle(element).backgroundColor), behind(element.parentElement)) : [255, 255, 255];
  const linear = (part) => (part <= 10 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);

  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { parentElement: element, textContent: text } = texts.currentNode;
    if (!text.trim() || !element.checkVisibility() || element.closest('[aria-disabled="true"], title')) continue;
    const style = getComputedStyle(element);
    const below = behind(element);
    const colour = over(pixel(element instanceof SVGElement ? style.fill : style.color), below);
    const [dark, light] = [luminance(colour), luminance(below)].sort((one, other) => one - other);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)}: ${text}`);
  }
  return faint;
}
